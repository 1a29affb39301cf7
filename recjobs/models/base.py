"""What a model is: it fits a `TrainingSet`, then gives factors or scores for a block of users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recjobs.config import Section
from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems, TrainingSet
from recjobs.files import read_json, write_json
from recjobs.models.relations import ItemRelation
from recjobs.models.warm import Start
from recjobs.progress import Progress, silent
from recjobs.topn import top_n_of_scores

Arrays = dict[str, npt.NDArray[Any]]
_REST: Final = "rest_"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training data.

    Attributes:
        number: From 1.
        loss: Mean of the training loss over the epoch.
        validation: The history's metric on the validation part; None without one.
    """

    number: int
    loss: float
    validation: float | None


@dataclass(frozen=True, slots=True)
class History:
    """How a fit went.

    Attributes:
        epochs: In order; empty for a closed form.
        best_epoch: The epoch whose weights were kept; None for a closed form.
        metric: ``"ndcg@10"`` (higher is better) or ``"rmse"`` (lower is better).
    """

    epochs: tuple[Epoch, ...]
    best_epoch: int | None
    metric: str


#: The history of a model that has no epochs.
CLOSED_FORM = History((), None, "ndcg@10")


class Model(ABC):
    """An entry of the registry; give factors or scores by subclassing one of the two below.

    A subclass declares its hyperparameters as a frozen `Section`, and its whole fitted state as
    named arrays, from which saving, loading and moving to another index follow.

    Attributes:
        name: The registry's name.
        Settings: The hyperparameters.
        selects_epochs: Whether a validation part chooses how many epochs to train.
        needs_features: Whether it learns from features of items and refuses a job without any.
        needs_time: Whether it learns from the order of interactions, so that their times matter.
        warm_starts: Whether a night's fit may start from an earlier night's.
        goes_on: Whether the scoring model starts from the judged one, which has seen less: where
            it comes to the same lists, only sooner.
        settings: This model's hyperparameters.
        known_users: bool, ``(n_users,)``; the others are left to the fallback. Set by `fit`.
        known_items: bool, ``(n_items,)``; the others are never recommended. Set by `fit`.
        rating_range: The least and the greatest rating, where the scores are predicted ratings.
        choices: What a fit with a validation part decided beside the number of epochs, as JSON
            values; a fit without one takes over what it finds here.
        start: The earlier fit whose weights the next one starts from, where the model
            ``warm_starts`` or ``goes_on``; None: from scratch.
        rest: Weights by name, of which scores need only sums: what a later fit that starts from
            this one needs beside the state.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Section]]
    selects_epochs: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    needs_time: ClassVar[bool] = False
    warm_starts: ClassVar[bool] = False
    goes_on: ClassVar[bool] = False

    known_users: BoolArray
    known_items: BoolArray
    rating_range: tuple[float, float] | None = None

    def __init__(self, settings: Section, *, seed: int, threads: int) -> None:
        self.settings = settings
        self.seed = seed
        self.threads = threads
        self.choices: dict[str, Any] = {}
        self.start: Start | None = None
        self.rest: Arrays = {}

    @abstractmethod
    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Learn from a training set.

        Args:
            train: What to learn from.
            validation: Where given, training stops early and keeps the best epoch's weights.
            epochs: Where given, exactly so many are trained.
            progress: Told how far the fit is.

        Raises:
            DataError: The set has nothing to learn from.
            ConfigError: The hyperparameters don't suit the data or the machine.
        """

    @abstractmethod
    def relation(self) -> ItemRelation | None:
        """Return how items relate, for "because" and similar items; None if they don't."""

    def relations(self) -> Iterator[ItemRelation]:
        """Give every way in which items relate in it, the weightiest first."""
        relation = self.relation()
        if relation is not None:
            yield relation

    @abstractmethod
    def _state(self) -> Arrays:
        """Return everything that `fit` learned, beside the known users and items."""

    @abstractmethod
    def _restore(self, arrays: Arrays) -> None:
        """Take back what `_state` returned."""

    def save(self, folder: Path) -> None:
        """Write the model into a folder, which is made: ``model.json`` and ``arrays.npz``."""
        folder.mkdir(parents=True, exist_ok=True)
        head = {
            "model": self.name,
            "params": self.settings.model_dump(mode="json"),
            "seed": self.seed,
            "threads": self.threads,
        }
        write_json(folder / "model.json", head)
        known: Arrays = {"known_users": self.known_users, "known_items": self.known_items}
        rest = {f"{_REST}{name}": array for name, array in self.rest.items()}
        np.savez(folder / "arrays.npz", allow_pickle=False, **known, **rest, **self._state())

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> Self:
        """Read a model that `save` wrote, to use so many threads; default: as it was trained."""
        head = read_json(folder / "model.json")
        params = cls.Settings.model_validate(head["params"])
        model = cls(params, seed=head["seed"], threads=threads or head["threads"])
        with np.load(folder / "arrays.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        model.known_users = arrays.pop("known_users")
        model.known_items = arrays.pop("known_items")
        rest = [name for name in arrays if name.startswith(_REST)]
        model.rest = {name.removeprefix(_REST): arrays.pop(name) for name in rest}
        model._restore(arrays)
        return model


class FactorModel(Model):
    """A model whose score is the dot product of a user's and an item's vector."""

    @abstractmethod
    def factors(self) -> tuple[Float32Array, Float32Array]:
        """Return user vectors ``(n_users, dim)`` and item vectors ``(n_items, dim)``, float32.

        Biases are folded in as columns.
        """

    def tastes(self) -> Float32Array:
        """Return the user vectors alone, ``(n_users, dim)``: what tells of a user's taste."""
        return self.factors()[0]


class BlockModel(Model):
    """A model that scores all items for a block of users."""

    @abstractmethod
    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return scores float32 ``(len(user_idx), n_items)``; -inf where the model has none.

        A user's scores don't depend on the other users in the block.
        """

    def top_n(
        self, users: Int32Array, seen: SeenItems, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return each user's n best unseen candidates: a full sort's, by `score_block`.

        A model that finds them without all scores overrides it.

        Args:
            users: int32, ``(b,)``; known to the model.
            seen: What is left out.
            candidates: bool, ``(n_items,)``; the others are never returned.
            n: Length of a list.

        Returns:
            Item indexes int32 ``(b, n)``, -1 padded, and scores float32 ``(b, n)``, -inf padded.
        """
        return top_n_of_scores(self.score_block(users), users, seen, candidates, n)


@runtime_checkable
class RatingModel(Protocol):
    """A model that predicts ratings where it was fitted on them (its ``rating_range`` is set)."""

    def predict(self, user_idx: Int32Array, item_idx: Int32Array) -> Float32Array:
        """Return predicted ratings float32, ``(n,)``, clipped to the scale of the data."""


def strengths(train: TrainingSet) -> sparse.csr_matrix:
    """Return the trained users' positives, float32 CSR ``(n_users, n_items)``, damped.

    A weight w counts as log2(1 + w): 1 for a single interaction, and the hundredth repetition says
    less than the first.

    Raises:
        DataError: There are none; ratings may all be low.
    """
    matrix = train.positives()
    if not matrix.nnz:
        raise train.without("positives")
    matrix.data = np.log1p(matrix.data) / np.float32(np.log(2))
    matrix.indptr = matrix.indptr.astype(np.int64)
    matrix.indices = matrix.indices.astype(np.int32)
    return matrix


def known_of(matrix: sparse.csr_matrix) -> tuple[BoolArray, BoolArray]:
    """Return which users and which items have an entry."""
    items = np.bincount(matrix.indices, minlength=matrix.shape[1]) > 0
    return np.diff(matrix.indptr) > 0, items


def csr_arrays(name: str, matrix: sparse.csr_matrix) -> Arrays:
    """Return a sparse matrix as arrays to save."""
    return {
        f"{name}_indptr": matrix.indptr,
        f"{name}_indices": matrix.indices,
        f"{name}_data": matrix.data,
    }


def csr_of(name: str, arrays: Arrays, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Return the sparse matrix that `csr_arrays` took apart."""
    matrix = sparse.csr_matrix(shape, dtype=np.float32)
    # Assigned, for the constructor would narrow the pointers to int32 and every kernel would be
    # compiled twice.
    matrix.indptr = arrays[f"{name}_indptr"]
    matrix.indices = arrays[f"{name}_indices"]
    matrix.data = arrays[f"{name}_data"]
    return matrix


def pair_products(
    left: Float32Array, right: Float32Array, rows: Int32Array, columns: Int32Array
) -> Float32Array:
    """Return the dot product of each pair of vectors, float32 ``(n,)``.

    Each is of the same sum in the same order, to 8,192 columns: equal vectors give equal products.

    Args:
        left: float32 ``(n_left, dim)``.
        right: float32 ``(n_right, dim)``.
        rows: Of ``left``, int32 ``(n,)``.
        columns: Of ``right``, int32 ``(n,)``.
    """
    out = np.empty(len(rows), dtype=np.float32)
    step = 1 << 9  # copies that stay in the cache
    for start in range(0, len(out), step):
        part = slice(start, start + step)
        np.einsum("nd,nd->n", left[rows[part]], right[columns[part]], out=out[part])
    return out


def with_biases(
    users: Float32Array, user_bias: Float32Array, items: Float32Array, item_bias: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Return vectors whose dot product is that of the given ones plus both biases."""
    count, size = users.shape[1], users.shape[1] + 2
    both = np.empty((len(users), size), np.float32), np.empty((len(items), size), np.float32)
    for whole, vectors, columns in zip(
        both, (users, items), ((user_bias, 1), (1, item_bias)), strict=True
    ):
        whole[:, :count] = vectors
        whole[:, count], whole[:, count + 1] = columns
    return both
