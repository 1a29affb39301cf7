"""What the Keras models share: a deterministic start, and epochs with early stopping."""

from __future__ import annotations

import gc
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, TrainingSet
from recjobs.errors import ConfigError
from recjobs.metrics import hits, ndcg, rmse
from recjobs.models.base import Epoch, History, Model, RatingModel
from recjobs.models.judged import Judged
from recjobs.models.ranking import Ranker
from recjobs.progress import EpochProgress, Progress

#: Epochs without a better validation before training stops.
_PATIENCE: Final = 4
#: Users whose lists are judged after each epoch.
_JUDGED_USERS: Final = 3000
#: Adam's, as Keras has them.
_BETA_1: Final = 0.9
_BETA_2: Final = 0.999
_EPSILON: Final = 1e-7


def import_keras() -> tuple[Any, Any]:
    """Import TensorFlow and Keras, without what they print, and return both."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _standard_error_kept(), _lasting():
        import keras
        import tensorflow as tf
    return tf, keras


@contextmanager
def _lasting() -> Iterator[None]:
    """Keep the garbage collector from all that is there when this ends; once in a process.

    A collection would walk TensorFlow's objects for a quarter of a second, while it is imported
    and whenever Keras compiles a step. Again, it would keep what a fit left behind.
    """
    if "keras" in sys.modules:
        yield
        return
    gc.collect()  # or what is garbage already stays
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if collects:
            gc.enable()


@contextmanager
def _standard_error_kept() -> Iterator[None]:
    """Keep what native code writes to standard error; show it only where the block fails.

    TensorFlow logs on import before it reads its own log level.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def keras_with(threads: int) -> tuple[Any, Any]:
    """Import TensorFlow and Keras, for so many threads unless it runs already, and return both.

    What only reads a model asks for the model's own: one that is trained afterwards in the same
    process finds TensorFlow running.
    """
    tf, keras = import_keras()
    with suppress(RuntimeError):  # it has started: its threads can't be changed any more
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf, keras


def start_keras(seed: int, threads: int) -> tuple[Any, Any]:
    """Import TensorFlow and Keras, fix their seeds and threads, and return both.

    Raises:
        ConfigError: TensorFlow already runs with another number of threads in this process.
    """
    tf, keras = keras_with(threads)
    with _standard_error_kept():  # it looks for devices, and logs that it finds no GPU
        received = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()
    if received != threads:
        raise ConfigError(
            f"job.training_threads: expected {threads}, but TensorFlow already runs with "
            f"{received} threads in this process. Start another process."
        )
    tf.config.experimental.enable_op_determinism()
    with _standard_error_kept():  # it starts, and logs that it finds no GPU
        tf.config.list_logical_devices()
    keras.utils.set_random_seed(seed)
    return tf, keras


def compiled_step(
    tf: Any,
    optimizer: Any,
    variables: list[Any],
    loss_of: Callable[..., Any],
    signature: list[Any],
) -> Callable[..., Any]:
    """Return a compiled step of an optimizer: a batch's arrays in, its loss out.

    Args:
        tf: The module.
        optimizer: Of Keras, built for the variables.
        variables: What is learned; the loss depends on each.
        loss_of: The loss of a batch.
        signature: The shapes and types of a batch's arrays.
    """

    @tf.function(autograph=False, input_signature=signature)
    def step(*batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(*batch)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    compiled: Callable[..., Any] = step
    return compiled


def train_epochs(
    run_epoch: Callable[[int], float],
    measure: Callable[[], float] | None,
    keep: Callable[[], Callable[[], None]],
    *,
    epochs: int,
    metric: str,
    progress: Progress,
    patience: int = _PATIENCE,
) -> History:
    """Train epoch by epoch; with a measure, stop early and go back to the best weights.

    Args:
        run_epoch: Trains one epoch, given its number from 1, and returns its mean loss.
        measure: Returns the metric on the validation part.
        keep: Copies the weights, and returns a function that puts them back.
        epochs: The most epochs; without a measure, exactly so many.
        metric: ``"ndcg@10"`` (higher is better) or ``"rmse"`` (lower is better).
        progress: Told the share of epochs done; an `EpochProgress` also each validation.
        patience: Epochs without a better validation before training stops.

    Raises:
        ConfigError: Training diverged.
    """
    done: list[Epoch] = []
    sign = -1.0 if metric == "rmse" else 1.0
    best, best_epoch, restore = -math.inf, epochs, None
    for number in range(1, epochs + 1):
        loss = run_epoch(number)
        value = None if measure is None else measure()
        done.append(Epoch(number, loss, value))
        if not math.isfinite(loss if value is None else loss + value):
            found = f"a loss of {loss}" if value is None else f"a loss of {loss}, {metric} {value}"
            raise ConfigError(
                f"training diverged: expected a finite loss. Received: {found} in epoch {number}. "
                "Lower model.params.learning_rate or model.params.batch_size"
            )
        shown = "" if value is None else f", {metric} {value:.4f}"
        progress(number / epochs, f"epoch {number}: loss {loss:.4f}{shown}")
        if value is None:
            continue
        if isinstance(progress, EpochProgress):
            progress.epoch(number, metric, value)
        if sign * value > best:
            best, best_epoch, restore = sign * value, number, keep()
        elif number - best_epoch >= patience:
            break
    if restore is not None:
        restore()
    return History(tuple(done), best_epoch, metric)


class RankingValidation:
    """NDCG@10 over the full catalogue, for an even choice of the validation part's users.

    Args:
        train: What the model is fitted on; what it says is seen is left out.
        validation: Its positives are relevant.
        known_users: bool, ``(n_users,)``; the others are not judged.
    """

    def __init__(self, train: TrainingSet, validation: TrainingSet, known_users: BoolArray) -> None:
        self._judged = Judged.of(train, validation, known_users, _JUDGED_USERS)
        self.users = self._judged.users

    def measure(self, model: Model) -> float:
        """Return the mean over the judged users."""
        judged = self._judged
        lists, _ = Ranker(model, judged.candidates).top_n(judged.users, judged.seen, 10)
        hit = hits(lists, judged.indptr, judged.liked)
        return float(ndcg(hit, np.diff(judged.indptr), 10).mean())


def measure_of(
    model: Model,
    train: TrainingSet,
    validation: TrainingSet | None,
    take: Callable[[], None],
) -> Callable[[], float] | None:
    """Return what judges the model after an epoch; None where there is nothing to judge it by.

    Args:
        model: Its known users, known items and rating range are set.
        train: What it is fitted on.
        validation: What it is judged on.
        take: Gives the trainer's present weights to the model.
    """
    if validation is None:
        return None
    if isinstance(model, RatingModel) and model.rating_range is not None:
        rated = ~np.isnan(validation.rating)
        user, item = validation.user_idx[rated], validation.item_idx[rated]
        rating = validation.rating[rated]

        def rmse_now() -> float:
            take()
            return rmse(model.predict(user, item).astype(np.float64) - rating)

        return rmse_now if len(rating) else None

    ranking = RankingValidation(train, validation, model.known_users)

    def ndcg_now() -> float:
        take()
        return ranking.measure(model)

    return ndcg_now if ranking.users.size else None


class Weights:
    """Trained variables, read and kept as arrays."""

    def __init__(self, variables: list[Any]) -> None:
        self._variables = variables

    def arrays(self) -> list[Float32Array]:
        """Return the present values."""
        return [np.array(variable.numpy()) for variable in self._variables]

    def put(self, values: list[Float32Array]) -> None:
        """Set all values."""
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def keep(self) -> Callable[[], None]:
        """Copy the values, and return a function that puts them back."""
        kept = self.arrays()
        return lambda: self.put(kept)


class Adam:
    """Adam, each variable in one pass: Keras's own is ten operations on it and on its moments.

    It takes the same steps. A gradient of few rows counts as 0 elsewhere, where moments carry on.
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.

    Args:
        tf: TensorFlow.
        variables: Keras variables.
    """

    def __init__(self, tf: Any, variables: list[Any]) -> None:
        self._tf = tf
        self._variables = [variable.value for variable in variables]
        self._moments = [
            [tf.Variable(tf.zeros(variable.shape)) for _ in range(2)] for variable in variables
        ]
        self._done = tf.Variable(0.0)

    def apply(self, gradients: list[Any], rate: Any) -> None:
        """Take a step, within a compiled function."""
        tf = self._tf
        done = self._done.assign_add(1.0)
        left = [_BETA_1**done, _BETA_2**done]
        for variable, (mean, square), gradient in zip(
            self._variables, self._moments, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=left[0],
                beta2_power=left[1],
                lr=rate,
                beta1=_BETA_1,
                beta2=_BETA_2,
                epsilon=_EPSILON,
                grad=tf.convert_to_tensor(gradient),
            )
