"""Two towers in Keras: what is known of a user and of an item, each beside an embedding of the id.

Score: p_u · q_i + b_i. q_i = e_i + W f_i, with f_i the item's features (rows of
`recjobs.models.feature_rows`, reduced to ``content_dim`` by a truncated SVD); p_u = e_u + V h_u +
U g_u, with h_u the mean of the features of what the user liked, the recent ones more, and g_u the
user's own features. b_i is a learned bias that moves with the item's recent popularity (see
`recjobs.models.recency`). In every step the embedding and the bias of some ids are left out, and
the popularity that a ridge regression on the features expects stands in: so the features learn to
carry an item without interactions, which is scored by them alone.

Loss: softmax cross-entropy of each positive against the catalogue, or above ``negatives`` items
against a sample, half of it even and half by popularity, with the logQ correction. A user's history
is halved at random for every epoch: the positives of one half are predicted from the other, for an
item must not be predicted from itself. l2 on both vectors, per interaction; Adam.

Covington, Adams and Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016;
Volkovs, Yu and Poutanen, "DropoutNet: Addressing Cold Start in Recommender Systems", NeurIPS 2017;
Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys
2019.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from recjobs.config import Section
from recjobs.dataset import Float32Array, TrainingSet
from recjobs.models.base import Arrays, FactorModel, History
from recjobs.models.content import require_item_features
from recjobs.models.recency import RecencyDays
from recjobs.models.relations import ItemVectors
from recjobs.progress import Progress, silent


class TwoTowerSettings(Section):
    """Hyperparameters of `TwoTower`."""

    embedding_dim: int = Field(default=64, ge=1)
    content_dim: int = Field(default=128, ge=1)  #: of the features after the truncated SVD
    id_dropout: float = Field(default=0.3, ge=0, lt=1)  #: share of ids left out of a step
    half_life_days: float | None = Field(default=365.0, gt=0)  #: what was liked counts half
    learning_rate: float = Field(default=0.005, gt=0)  #: Adam's
    batch_size: int | None = Field(default=None, ge=1)  #: interactions; default: by the data
    epochs: int = Field(default=30, ge=1)  #: the most; early stopping finds how many
    l2: float = Field(default=0.05, ge=0)  #: on the vectors, per interaction
    negatives: int = Field(default=4096, ge=1)  #: sampled items per batch
    #: half-lives of the recent popularity in the item bias; [] for none
    recency_days: RecencyDays = (1.0, 7.0, 60.0)


class TwoTower(FactorModel):
    """Recommends items whose tower points the way of the user's, new items too."""

    name: ClassVar[str] = "two_tower"
    Settings: ClassVar[type[Section]] = TwoTowerSettings
    needs_features: ClassVar[bool] = True
    selects_epochs: ClassVar[bool] = True
    warm_starts: ClassVar[bool] = True
    settings: TwoTowerSettings
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
        from recjobs.models.training import measure_of, train_epochs
        from recjobs.models.two_tower_training import TowerTrainer

        train.require_rows()
        require_item_features(train, self.name)
        trainer = TowerTrainer(train, self.settings, seed=self.seed, threads=self.threads)
        if self.start is not None:
            trainer.start_from(self.start)
        self.known_users, self.known_items = trainer.known_users, trainer.known_items

        def take() -> None:
            self._users, self._items = trainer.vectors()

        history = train_epochs(
            trainer.run_epoch,
            measure_of(self, train, validation, take),
            trainer.keep,
            epochs=epochs or self.settings.epochs,
            metric="ndcg@10",
            progress=progress,
        )
        take()
        self.rest = trainer.rest()
        return history

    def factors(self) -> tuple[Float32Array, Float32Array]:
        """Return the towers' vectors, biases folded in as two more columns."""
        return self._users, self._items

    def tastes(self) -> Float32Array:
        """Return the user vectors, without the biases."""
        return self._users[:, :-2]

    def relation(self) -> ItemVectors:
        """Return the item vectors, without the biases."""
        return ItemVectors.of(self._items[:, :-2], self.known_items)

    def _state(self) -> Arrays:
        return {"users": self._users, "items": self._items}

    def _restore(self, arrays: Arrays) -> None:
        self._users, self._items = arrays["users"], arrays["items"]
