"""Several ways in which items relate as one: what the weightiest can't say, the next one may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems
from recjobs.models.relations import ItemRelation, TellsFeatures
from recjobs.topn import empty_lists


@dataclass(frozen=True)
class InTurn:
    """Each relation is asked for what those before it have no answer to.

    Attributes:
        relations: The weightiest first.
    """

    relations: Sequence[ItemRelation]

    def because(self, lists: Int32Array, users: Int32Array, history: SeenItems) -> Int32Array:
        """Return the reason by the first relation that has one for the entry."""
        out = np.full_like(lists, -1)
        for relation in self.relations:
            left = np.where(out < 0, lists, np.int32(-1))
            if (left < 0).all():
                break
            out = np.maximum(out, relation.because(left, users, history))
        return out

    def similar(
        self, items: Int32Array, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return the nearest by the first relation that has any for the item."""
        found, likeness = empty_lists(len(items), n)
        for relation in self.relations:
            left = np.flatnonzero(found[:, 0] < 0)
            if not len(left):
                break
            found[left], likeness[left] = relation.similar(items[left], candidates, n)
        return found, likeness


@dataclass(frozen=True)
class TellingInTurn(InTurn):
    """The same, of which the first explains by features, too: see `TellsFeatures`."""

    telling: TellsFeatures

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its features."""
        return self.telling.names

    def because_features(self, lists: Int32Array, users: Int32Array) -> Int32Array:
        """Return those that weighed most; see `TellsFeatures.because_features`."""
        return self.telling.because_features(lists, users)


def in_turn(relations: Sequence[ItemRelation]) -> ItemRelation | None:
    """Return relations as one, the weightiest first; None where there are none."""
    if len(relations) < 2:
        return relations[0] if relations else None
    first = relations[0]
    if isinstance(first, TellsFeatures):
        return TellingInTurn(relations, first)
    return InTurn(relations)
