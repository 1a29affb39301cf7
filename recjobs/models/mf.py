"""Matrix factorization in Keras: a user's and an item's embedding, multiplied.

**Implicit feedback.** Score: p_u · q_i + b_i + Σ_k g_k r_ki(t), where r_k are the item's log shares
of recent interactions (see `recjobs.models.recency`) and g_k their learned weights. Loss: softmax
cross-entropy of each positive against the catalogue, weighted by the positive's strength. All
positives of one user at one time share their logits. Sampling: a catalogue above ``negatives``
items is sampled uniformly for each batch, with the logQ correction log((N - 1) / n) on the sampled
part; nothing is stored.

**Ratings.** Prediction: the mean + b_u + b_i + p_u · q_i, clipped to the scale of the data. Loss:
squared error, by plain gradient descent from vectors near 0; l2 draws a vector not to 0 but to what
is expected of its row by which others it has ratings with (see `recjobs.models.rated_sets`).

Both: l2 on the vectors of each interaction, so that it counts per interaction. Where many
items have few interactions each, as in Gowalla's check-ins, implicit feedback learns better from a
``spectral`` start with an l2 per ``vector``: light users and rare items are held back no less than
others.

Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", Computer 2009;
Koren, "Factorization Meets the Neighborhood", KDD 2008;
Rendle, Krichene, Zhang and Anderson, "Neural Collaborative Filtering vs. Matrix Factorization
Revisited", RecSys 2020; Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of
a Neural Probabilistic Language Model", 2008.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from recjobs.config import Section
from recjobs.dataset import Float32Array, Int32Array, TrainingSet
from recjobs.models.base import Arrays, FactorModel, History, pair_products
from recjobs.models.recency import RecencyDays
from recjobs.models.relations import ItemVectors
from recjobs.progress import Progress, silent

#: Epochs without a better validation: near the best it moves by chance, and the first epochs on
#: ratings fit biases alone.
_PATIENCE: Final = 8


class MfSettings(Section):
    """Hyperparameters of `MatrixFactorization`."""

    embedding_dim: int = Field(default=64, ge=1)
    #: Adam's; ratings: of plain descent, and falls by 7% per epoch; default: 0.005, and 0.04
    learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)  #: interactions; default: by the data
    #: the most; early stopping finds how many; default: 30, and 40 for ratings
    epochs: int | None = Field(default=None, ge=1)
    #: on the vectors, per interaction; default: 0.05, and 0.09 for ratings
    l2: float | None = Field(default=None, ge=0)
    #: what l2 is counted by; "vector": evenly, for sparse data; implicit feedback only
    l2_per: Literal["interaction", "vector"] = "interaction"
    #: of the vectors; see `recjobs.models.spectral`; implicit feedback only
    start: Literal["random", "spectral"] = "random"
    negatives: int = Field(default=4096, ge=1)  #: sampled items per batch; implicit feedback only
    #: fits from different starts; ratings only; default: 3 to 250,000 ratings, else 1
    averaged: int | None = Field(default=None, ge=1)
    #: half-lives of the recent popularity in the item bias; [] for none; implicit feedback only
    recency_days: RecencyDays = (1.0, 7.0, 60.0)


class MatrixFactorization(FactorModel):
    """Recommends items whose vectors point the user's way."""

    name: ClassVar[str] = "mf"
    Settings: ClassVar[type[Section]] = MfSettings
    selects_epochs: ClassVar[bool] = True
    warm_starts: ClassVar[bool] = True
    settings: MfSettings
    _users: Float32Array
    _items: Float32Array

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Train by epochs; see `Model.fit`."""
        from recjobs.models.mf_ratings import RatingsTrainer
        from recjobs.models.mf_softmax import SoftmaxTrainer
        from recjobs.models.training import measure_of, train_epochs

        train.require_rows()
        explicit = train.feedback == "explicit"
        trainer = (RatingsTrainer if explicit else SoftmaxTrainer)(
            train, self.settings, seed=self.seed, threads=self.threads
        )
        if self.start is not None:
            trainer.start_from(self.start)
        self.known_users, self.known_items = trainer.known_users, trainer.known_items
        self.rating_range = train.rating_range if explicit else None

        def take() -> None:
            self._users, self._items = trainer.vectors()

        history = train_epochs(
            trainer.run_epoch,
            measure_of(self, train, validation, take),
            trainer.keep,
            epochs=epochs or self.settings.epochs or (40 if explicit else 30),
            metric="rmse" if explicit else "ndcg@10",
            progress=progress,
            patience=_PATIENCE,
        )
        take()
        self.rest = trainer.rest()
        return history

    def factors(self) -> tuple[Float32Array, Float32Array]:
        """Return the vectors, biases folded in as two more columns."""
        return self._users, self._items

    def tastes(self) -> Float32Array:
        """Return the user vectors, without the biases."""
        return self._users[:, :-2]

    def predict(self, user_idx: Int32Array, item_idx: Int32Array) -> Float32Array:
        """Return predicted ratings, clipped to the scale of the data; biases where unknown."""
        score = pair_products(self._users, self._items, user_idx, item_idx)
        return score if self.rating_range is None else score.clip(*self.rating_range)

    def relation(self) -> ItemVectors:
        """Return the item vectors, without the biases."""
        return ItemVectors.of(self._items[:, :-2], self.known_items)

    def _state(self) -> Arrays:
        rating_range = np.array(self.rating_range or (), dtype=np.float64)
        return {"users": self._users, "items": self._items, "rating_range": rating_range}

    def _restore(self, arrays: Arrays) -> None:
        self._users, self._items = arrays["users"], arrays["items"]
        low_high = [float(value) for value in arrays["rating_range"]]
        self.rating_range = (low_high[0], low_high[1]) if low_high else None
