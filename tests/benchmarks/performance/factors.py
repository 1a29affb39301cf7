"""Vectors to rank by, and what their users have seen: drawn, and learned from a shape."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.performance.shapes import Shape, training
from recjobs import models
from recjobs.dataset import Float32Array, SeenItems, TrainingSet
from recjobs.models.base import FactorModel
from recjobs.threads import cores

DIM = 64


@dataclass(frozen=True, slots=True)
class Factors:
    """Vectors of users and items, and the items that each user has seen."""

    users: Float32Array
    items: Float32Array
    seen: SeenItems


def part(shape: Shape, users: int) -> Shape:
    """Return the shape with fewer users, of histories as long as in the whole."""
    users = min(users, shape.users)
    share = users / shape.users
    name = f"{shape.name}, {users:,} users"
    return replace(shape, name=name, users=users, interactions=round(shape.interactions * share))


def seen_of(train: TrainingSet) -> SeenItems:
    """Return what each user has had."""
    return SeenItems(train.indptr, train.item_idx)


def drawn(shape: Shape, users: int) -> Factors:
    """Return normally distributed vectors: no vector is much longer than another."""
    some = part(shape, users)
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((n, DIM), dtype=np.float32) for n in (some.users, some.items))
    return Factors(*vectors, seen_of(training(some)))


@functools.cache
def learned(shape: Shape, users: int) -> Factors:
    """Return what `ials` learns from some of the users."""
    train = training(part(shape, users))
    model = models.make("ials", {"embedding_dim": DIM}, seed=1, threads=cores())
    model.fit(train)
    assert isinstance(model, FactorModel)
    return Factors(*model.factors(), seen_of(train))
