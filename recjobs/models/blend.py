"""`blend`: other models of the registry, their scores weighted.

Score: the sum over models m of w_m * z_m, where z_m is either the standard score of the item among
all that m knows, for this user, or 1 / (c + rank). The weights are chosen on the validation part,
where they give the best NDCG@10; they are at least 0 and sum to 1, so a model that adds nothing is
left out. Where `rerank` is asked for, and better, a network puts each user's best in order
(`recjobs.models.reranker`). Rank fusion: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion",
SIGIR 2009; weights by search on held-out data: Bartell, Cottrell and Belew, SIGIR 1994.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from recjobs.config import PlainValue, Section
from recjobs.dataset import Float32Array, Int32Array, TrainingSet
from recjobs.errors import ConfigError
from recjobs.models import check_params, load, make
from recjobs.models.base import CLOSED_FORM, Arrays, BlockModel, History, Model
from recjobs.models.blend_weights import best_weights
from recjobs.models.candidates import Candidates, Facts
from recjobs.models.comparable import SCALES, scores_of
from recjobs.models.in_turn import in_turn
from recjobs.models.judged import Judged
from recjobs.models.relations import ItemRelation
from recjobs.models.reranker import Reranker
from recjobs.models.reranker_choice import choose
from recjobs.progress import Progress, silent

_FACTS: Final = ("items", "history")
#: Whose scores of all items are in memory at once.
_BLOCK_USERS: Final = 256


class BlendSettings(Section):
    """Hyperparameters of `Blend`."""

    #: the models by name, each with its own hyperparameters
    models: dict[str, dict[str, PlainValue]] = Field(
        default={"ease": {}, "ials": {}, "item_knn": {}}
    )
    scale: Literal["z", "rank"] = "z"  #: how scores are made comparable
    #: at most so many users choose the weights; 0: all models weigh the same
    judged_users: int = Field(default=5000, ge=0)
    #: let a network learn a better order of each user's best, used where it is one
    rerank: bool = False
    candidates: int = Field(default=200, ge=20)  #: how many it puts in order

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if self.rerank and not self.judged_users:
            raise ValueError(
                "judged_users: expected more than 0 where rerank = true, which learns from them. "
                "Received: 0"
            )
        return self

    @field_validator("models")
    @classmethod
    def _known(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if len(value) < 2 or "blend" in value:
            raise ValueError("expected two other models or more")
        for name, params in value.items():
            try:
                check_params(name, params)
            except ConfigError as error:
                raise ValueError(f"{name}: {error}") from error
        # Weights and features go by place, and a table of settings has no order to be relied on.
        return dict(sorted(value.items()))


class Blend(BlockModel):
    """Several models as one."""

    name = "blend"
    Settings = BlendSettings
    selects_epochs = True
    settings: BlendSettings

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Fit every model; with a validation part, choose the weights.

        Without one, the weights and epochs of ``choices`` are taken: each model counts the same,
        and trains as long as it would by itself, where there are none.
        """
        names = list(self.settings.models)
        self.parts: dict[str, Model] = {}
        found: dict[str, int | None] = {}
        for number, (name, params) in enumerate(self.settings.models.items()):
            model = make(name, params, seed=self.seed, threads=self.threads)
            history = model.fit(
                train,
                validation=validation if model.selects_epochs else None,
                epochs=self.choices.get("epochs", {}).get(name),
                progress=_part(progress, name, number, len(names)),
            )
            self.parts[name], found[name] = model, history.best_epoch
        self._know(self.parts.values())
        self.reranker = None
        if self.settings.rerank:
            self.facts = Facts.of(train)
        if validation is None:
            if "reranker" in self.choices:
                self.reranker = Reranker.of(self.choices["reranker"])
            given = self.choices.get("weights", dict.fromkeys(names, 1 / len(names)))
            self.weights = np.array([given[name] for name in names], dtype=np.float32)
            self._know(self._with_a_say())
            progress(1.0, self._told("" if self.reranker is None else "reranked"))
            return CLOSED_FORM
        judged = Judged.of(train, validation, self.known_users, self.settings.judged_users)
        self.weights = best_weights(judged, len(names), self._scaled)
        weights = dict(zip(names, self.weights.tolist(), strict=True))
        self.choices = {"weights": weights, "epochs": found}
        told = ""
        if self.settings.rerank:
            self.reranker, told = choose(
                judged, self._candidates_of_all, seed=self.seed, threads=self.threads
            )
            if self.reranker is not None:
                self.choices["reranker"] = self.reranker.plain()
        self._know(self._with_a_say())
        progress(1.0, self._told(told))
        return History((), 1, "ndcg@10")

    def _know(self, parts: Iterable[Model]) -> None:
        """Know the users and the items that one of some models knows."""
        users, items = zip(*((part.known_users, part.known_items) for part in parts), strict=True)
        self.known_users, self.known_items = (np.logical_or.reduce(each) for each in (users, items))

    def _with_a_say(self) -> list[Model]:
        """Return the models that a list follows, the heaviest first.

        A weight of 0 is no opinion, but to a reranker.
        """
        parts, order = list(self.parts.values()), np.argsort(-self.weights, kind="stable")
        return [parts[n] for n in order if self.weights[n] > 0 or self.reranker is not None]

    def _told(self, reranked: str) -> str:
        """Return the weights in words, and what there is to say of a reranker."""
        every = zip(self.parts, self.weights, strict=True)
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in every)
        return "; ".join(filter(None, (f"weights: {weights}", reranked)))

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return the weighted sum of the models' scaled scores, the best of them in a new order."""
        if self.reranker is None:
            return self._blended(user_idx, np.flatnonzero(self.weights))[1]
        best, total = self._candidates(user_idx)
        there = best.item_idx >= 0
        again = np.where(there, self.reranker.score(best), np.inf)
        # All others come after them, in the order of the blend.
        last = np.where(there, best.blended, np.inf).min(axis=1)
        total += (again.min(axis=1) - last)[:, None]
        rows = np.repeat(np.arange(len(user_idx)), there.sum(axis=1))
        total[rows, best.item_idx[there]] = again[there]
        return total

    def _blended(
        self, users: Int32Array, numbers: Iterable[int]
    ) -> tuple[list[Float32Array], Float32Array]:
        """Return the scaled scores of some models, and their weighted sum."""
        total = np.zeros((len(users), len(self.known_items)), dtype=np.float32)
        every = []
        for number in numbers:
            every.append(self._scaled(number, users))
            total += self.weights[number] * every[-1]
        total[:, ~self.known_items] = -np.inf
        return every, total

    def _candidates(self, users: Int32Array) -> tuple[Candidates, Float32Array]:
        """Return what is reranked, and the scores of the blend."""
        every, total = self._blended(users, range(len(self.weights)))
        most = self.settings.candidates
        return Candidates.of(users, self.facts, every, total, self.known_items, most), total

    def _candidates_of_all(self, users: Int32Array) -> Candidates:
        """Return what is reranked for any number of users."""
        blocks = np.array_split(users, -(-len(users) // _BLOCK_USERS))
        return Candidates.joined([self._candidates(block)[0] for block in blocks])

    def relation(self) -> ItemRelation | None:
        """Return how items relate by the model that weighs most, of those that have an answer."""
        relations = (part.relation() for part in self._with_a_say())
        return in_turn([relation for relation in relations if relation is not None])

    def relations(self) -> Iterator[ItemRelation]:
        """Give those of every model, also without a weight: what there is does not hang on that."""
        for number in np.argsort(-self.weights, kind="stable"):
            yield from list(self.parts.values())[number].relations()

    def save(self, folder: Path) -> None:
        """Write the blend into a folder, each of its models into one of its own."""
        super().save(folder)
        for name, model in self.parts.items():
            model.save(folder / name)

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> Self:
        """Read a blend that `save` wrote; see `Model.load`."""
        blend = super().load(folder, threads=threads)
        parts = {name: load(name, folder / name, threads=threads) for name in blend.settings.models}
        blend.parts = parts
        return blend

    def _scaled(self, number: int, users: Int32Array) -> Float32Array:
        """Return a model's scores in the scale of the blend, float32 ``(b, n_items)``.

        What the model does not know has its least score; a user it does not know, 0 everywhere.
        """
        model = list(self.parts.values())[number]
        scaled = np.zeros((len(users), len(self.known_items)), dtype=np.float32)
        rows = np.flatnonzero(model.known_users[users])
        if len(rows):
            items = np.flatnonzero(model.known_items)
            # Rows one after another, so that what is summed over a row is in one order.
            scores = np.take(scores_of(model, users[rows]), items, axis=1)
            known = SCALES[self.settings.scale](np.nan_to_num(scores, neginf=0.0))
            full = np.repeat(known.min(axis=1, keepdims=True), scaled.shape[1], axis=1)
            full[:, items] = known
            scaled[rows] = full
        return scaled

    def _state(self) -> Arrays:
        state = {"weights": self.weights}
        if self.reranker is not None:
            state |= {name: np.asarray(getattr(self.facts, name)) for name in _FACTS}
            state |= self.reranker.arrays()
        return state

    def _restore(self, arrays: Arrays) -> None:
        self.weights = arrays.pop("weights")
        self.reranker = None
        if arrays:
            self.facts = Facts(**{name: arrays.pop(name) for name in _FACTS})
            self.reranker = Reranker(**arrays)


def _part(progress: Progress, name: str, number: int, of: int) -> Progress:
    def report(done: float, note: str = "") -> None:
        progress((number + done) / of, f"{name}: {note}")

    return report
