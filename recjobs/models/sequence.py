"""What the sequence models share: settings, fitting, scoring, saving.

Score: h_u · q_i, where h_u is what the network makes of the user's last items, in order, and q_i is
the item's embedding, the same that the network reads.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field

from recjobs.config import Section
from recjobs.dataset import Float32Array, Int32Array, TrainingSet
from recjobs.errors import DataError
from recjobs.models.base import Arrays, BlockModel, History
from recjobs.models.relations import ItemVectors
from recjobs.models.sequence_batches import Histories
from recjobs.models.sequence_training import ITEMS, SequenceTrainer
from recjobs.models.warm import Start, moved
from recjobs.progress import Progress, silent
from recjobs.threads import over_rows
from recjobs.topn import TILE_USERS

#: Users whose histories the network reads at a time.
_READ: Final = 64
#: Histories are padded to the model's length or a half, a quarter, ... of it, but not below.
_SHORTEST: Final = 16
#: Training stops after this share of ``epochs`` without a better validation: it may stand still
#: while the learning rate is high, and rise again as that falls.
_PATIENCE: Final = 1 / 3
_WEIGHT: Final = "weight_"


class SequenceSettings(Section):
    """Hyperparameters of every sequence model."""

    embedding_dim: int = Field(default=64, ge=1)
    length: int = Field(default=200, ge=2, le=500)  #: items of a history that are read, the last
    dropout: float = Field(default=0.2, ge=0, lt=1)
    learning_rate: float = Field(default=0.003, gt=0)  #: Adam's greatest
    batch_size: int | None = Field(default=None, ge=1)  #: users; default: by the data
    epochs: int = Field(default=50, ge=1)  #: the most; early stopping finds how many
    #: items drawn per batch; default: all of them up to 10,000, else 1,024
    negatives: int | None = Field(default=None, ge=1)


class SequenceModel(BlockModel):
    """Recommends what follows the last items of a user; a subclass gives the network."""

    selects_epochs: ClassVar[bool] = True
    needs_time: ClassVar[bool] = True
    warm_starts: ClassVar[bool] = True
    settings: SequenceSettings
    _weights: dict[str, Float32Array]
    _histories: Histories

    @abstractmethod
    def _initial(self, n_columns: int, rng: np.random.Generator) -> dict[str, Float32Array]:
        """Return the network's weights before training, those of the items among them."""

    @abstractmethod
    def _network(
        self,
        tf: Any,
        weights: Mapping[str, Any],
        column: Any,
        length: Any,
        drop: Callable[[Any], Any],
        *,
        last: bool = False,
    ) -> Any:
        """Return what each place tells of the next item, from the places up to it alone.

        Args:
            tf: The module.
            weights: By name.
            column: The items, int32 ``(b, t)``; anything after the end of a history.
            length: Items of each history, int32 ``(b,)``.
            drop: Sets values to 0 at random, in training.
            last: Only the last place of each history is asked for.

        Returns:
            float32 ``(b, t, embedding_dim)``, with ``last`` ``(b, 1, embedding_dim)``.
        """

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Train by epochs; see `Model.fit`."""
        from recjobs.models.training import measure_of, start_keras, train_epochs

        train.require_rows()
        tf, keras = start_keras(self.seed, self.threads)
        sequences = train.sequences()
        count = np.diff(sequences.indptr)
        if not (count > 1).any():
            raise DataError(
                f"model {self.name} has nothing to learn from: expected users with enough history "
                "and two positives, one after the other. Received: "
                f"{train.n_pairs} pairs of {np.count_nonzero(train.history)} users, and "
                f"{count.sum()} positives, no two of one user. Check feedback.positive_at, "
                "feedback.event_weights and the holdout."
            )
        self.known_users = count > 0
        self.known_items = np.bincount(sequences.item_idx, minlength=train.n_items) > 0
        item_of = np.flatnonzero(self.known_items).astype(np.int32)
        self._histories = Histories.of(train, item_of, self.settings.length)
        weights = self._initial(len(item_of), np.random.default_rng(self.seed))
        if self.start is not None:
            weights = _started(weights, self.start, item_of)
        trainer = SequenceTrainer(
            tf,
            keras,
            lambda *inputs: self._network(tf, *inputs),
            weights,
            # One item more: the last is told and not read, and training reads as many as scoring.
            Histories.of(train, item_of, self.settings.length + 1),
            self.settings,
            self.seed,
        )

        def take() -> None:
            self._weights = trainer.arrays()

        history = train_epochs(
            trainer.run_epoch,
            measure_of(self, train, validation, take),
            trainer.keep,
            epochs=epochs or self.settings.epochs,
            metric="ndcg@10",
            progress=progress,
            patience=max(4, round(_PATIENCE * self.settings.epochs)),
        )
        take()
        return history

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return scores; see `BlockModel.score_block`."""
        item_of = np.flatnonzero(self.known_items)
        vectors = self.vectors(user_idx)
        items = self._weights[ITEMS]
        out = np.full((len(user_idx), len(self.known_items)), -np.inf, dtype=np.float32)

        def work(rows: slice) -> None:
            padded = np.zeros((TILE_USERS, items.shape[1]), dtype=np.float32)
            padded[: rows.stop - rows.start] = vectors[rows]
            out[rows, item_of] = (padded @ items.T)[: rows.stop - rows.start]

        over_rows(work, len(user_idx), TILE_USERS)
        return out

    def vectors(self, user_idx: Int32Array) -> Float32Array:
        """Return what the network makes of the users' histories, float32 ``(b, embedding_dim)``.

        Each history is read in a block of fixed shape, chosen by its own length: a user's vector
        does not depend on the others in the block.
        """
        out = np.zeros((len(user_idx), self.settings.embedding_dim), dtype=np.float32)
        lengths = self._histories.lengths[user_idx]
        width, above = self.settings.length, self.settings.length
        while above > 0:
            width = above
            above = width // 2 if width // 2 >= _SHORTEST else 0
            chosen = np.flatnonzero((lengths <= width) & (lengths > above))
            for start in range(0, len(chosen), _READ):
                rows = chosen[start : start + _READ]
                users = np.zeros(_READ, dtype=np.int32)
                users[: len(rows)] = user_idx[rows]
                column = self._histories.padded(users, width)
                length = np.ones(_READ, dtype=np.int32)
                length[: len(rows)] = lengths[rows]
                out[rows] = self._reader(column, length, self._weights).numpy()[: len(rows)]
        return out

    @cached_property
    def _reader(self) -> Callable[..., Any]:
        """The compiled network: a block's columns, lengths and the weights in, vectors out."""
        from recjobs.models.training import keras_with

        tf, _ = keras_with(self.threads)

        @tf.function(autograph=False)
        def read(column: Any, length: Any, weights: dict[str, Any]) -> Any:
            return self._network(tf, weights, column, length, lambda x: x, last=True)[:, 0]

        compiled: Callable[..., Any] = read
        return compiled

    def relation(self) -> ItemVectors:
        """Return the item embeddings."""
        return ItemVectors.of(self.weights[ITEMS], self.known_items)

    @property
    def weights(self) -> dict[str, Float32Array]:
        """The weights by name, those of all items of the index; 0 for an unknown one."""
        items = np.zeros((len(self.known_items), self.settings.embedding_dim), dtype=np.float32)
        items[self.known_items] = self._weights[ITEMS]
        return {**self._weights, ITEMS: items}

    def _state(self) -> Arrays:
        weights = {f"{_WEIGHT}{name}": value for name, value in self._weights.items()}
        return {
            "history_indptr": self._histories.indptr,
            "history_column": self._histories.column,
            **weights,
        }

    def _restore(self, arrays: Arrays) -> None:
        self._histories = Histories(arrays["history_indptr"], arrays["history_column"])
        self._weights = {
            name.removeprefix(_WEIGHT): value
            for name, value in arrays.items()
            if name.startswith(_WEIGHT)
        }


def _started(
    initial: dict[str, Float32Array], start: Start, item_of: Int32Array
) -> dict[str, Float32Array]:
    """Return weights to start with; an item that the other fit does not know keeps its own."""
    theirs = start.model.weights
    items = moved(initial[ITEMS], theirs[ITEMS], start.items[item_of])
    return {name: start.mixed(initial[name], {**theirs, ITEMS: items}[name]) for name in initial}


def last_places(tf: Any, x: Any, length: Any) -> Any:
    """Return the last place of each history, ``(b, 1, dim)``, of x, ``(b, t, dim)``."""
    return tf.gather(x, length - 1, batch_dims=1)[:, None]
