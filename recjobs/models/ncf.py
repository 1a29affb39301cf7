"""Neural collaborative filtering in Keras: a small network on a user's and an item's embedding.

Score: w · relu(W2 relu(W1 [p_u, q_i] + b1) + b2) + v · (p_u * q_i) + b + b_u + b_i, with
embeddings of 50 and dense layers of 128 and 64, fused with the product of the embeddings: the
dense layers alone are slow to learn who likes what. ``parts`` leaves one of both away, as He et al.
compare them: the product alone is their GMF, the dense layers alone their MLP.

**Implicit feedback.** Loss: softmax cross-entropy of each positive against ``negatives`` items
drawn for each batch, half of them evenly and half by popularity, never stored, with the logQ
correction; b_i moves with the item's recent popularity (see `recjobs.models.recency`).

**Ratings.** Loss: squared error, with a learning rate that is halved after each epoch; predictions
are clipped to the scale of the data.

Both: l2 on the embeddings of each interaction, so that it counts per interaction; dropout after
each dense layer; Adam.

He, Liao, Zhang, Nie, Hu and Chua, "Neural Collaborative Filtering", WWW 2017; Yi et al.,
"Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PositiveInt

from recjobs.config import Section
from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems, TrainingSet
from recjobs.models.base import Arrays, BlockModel, History
from recjobs.models.ncf_network import Scorer
from recjobs.models.recency import RecencyDays
from recjobs.models.relations import ItemVectors
from recjobs.progress import Progress, silent

_NETWORK = "network.keras"


class NcfSettings(Section):
    """Hyperparameters of `NeuralCollaborativeFiltering`."""

    embedding_dim: int = Field(default=50, ge=1)
    hidden: tuple[PositiveInt, PositiveInt] = (128, 64)  #: widths of the dense layers
    #: what scores: dense layers and product, fused; the product alone; the dense layers alone
    parts: Literal["neumf", "gmf", "mlp"] = "neumf"
    #: after each dense layer, while training; default: none, and 0.5 for ratings
    dropout: float | None = Field(default=None, ge=0, lt=1)
    l2: float = Field(default=0.03, ge=0)  #: on the embeddings, per interaction
    #: Adam's; default: 0.003, and 0.01 for ratings
    learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)  #: interactions; default: by the data
    epochs: int = Field(default=8, ge=1)  #: the most; early stopping finds how many
    negatives: int = Field(default=64, ge=1)  #: sampled items per batch; implicit feedback only
    #: half-lives of the recent popularity in the item bias; [] for none; implicit feedback only
    recency_days: RecencyDays = (1.0, 7.0, 60.0)


class NeuralCollaborativeFiltering(BlockModel):
    """Recommends what the network scores highest."""

    name: ClassVar[str] = "ncf"
    Settings: ClassVar[type[Section]] = NcfSettings
    selects_epochs: ClassVar[bool] = True
    warm_starts: ClassVar[bool] = True
    settings: NcfSettings
    _network: Any
    _scorer: Scorer

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Train by epochs; see `Model.fit`."""
        from recjobs.models.ncf_ratings import NcfRatingsTrainer
        from recjobs.models.ncf_softmax import NcfSoftmaxTrainer
        from recjobs.models.training import measure_of, train_epochs

        train.require_rows()
        explicit = train.feedback == "explicit"
        trainer = (NcfRatingsTrainer if explicit else NcfSoftmaxTrainer)(
            train, self.settings, seed=self.seed, threads=self.threads
        )
        if self.start is not None:
            trainer.start_from(self.start)
        self.known_users, self.known_items = trainer.known_users, trainer.known_items
        self.rating_range = train.rating_range if explicit else None

        def take() -> None:
            self._scorer = trainer.scorer()

        history = train_epochs(
            trainer.run_epoch,
            measure_of(self, train, validation, take),
            trainer.keep,
            epochs=epochs or self.settings.epochs,
            metric="rmse" if explicit else "ndcg@10",
            progress=progress,
        )
        take()
        self.rest = trainer.rest()
        self._network = trainer.finish(self._scorer)
        return history

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return scores; see `BlockModel.score_block`."""
        return self._scorer.block(user_idx)

    def top_n(
        self, users: Int32Array, seen: SeenItems, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return the best, of which few are scored in float32; see `BlockModel.top_n`."""
        return self._scorer.top_n(users, seen, candidates, n)

    def predict(self, user_idx: Int32Array, item_idx: Int32Array) -> Float32Array:
        """Return predicted ratings, clipped to the scale of the data."""
        score = self._scorer.pairs(user_idx, item_idx)
        return score if self.rating_range is None else score.clip(*self.rating_range)

    @property
    def network(self) -> Any:
        """The trained Keras model."""
        return self._network

    def relation(self) -> ItemVectors:
        """Return the item embeddings."""
        return ItemVectors.of(self._scorer.items, self.known_items)

    def save(self, folder: Path) -> None:
        """Write the model into a folder; the network in Keras's own format."""
        super().save(folder)
        self._network.save(folder / _NETWORK)

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> Self:
        """Read a model that `save` wrote; see `Model.load`."""
        from recjobs.models.training import keras_with

        model = super().load(folder, threads=threads)
        _, keras = keras_with(model.threads)
        model._network = keras.saving.load_model(folder / _NETWORK, compile=False)
        model._scorer = Scorer.of(model._network)
        return model

    def _state(self) -> Arrays:
        return {"rating_range": np.array(self.rating_range or (), dtype=np.float64)}

    def _restore(self, arrays: Arrays) -> None:
        low_high = [float(value) for value in arrays["rating_range"]]
        self.rating_range = (low_high[0], low_high[1]) if low_high else None
