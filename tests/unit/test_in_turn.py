"""Reasons and neighbours in a blend: of the weightiest model that has any for the item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from contracts import colours
from logs import every, log_of
from recjobs.config import FeedbackSettings
from recjobs.dataset import SeenItems, TrainingSet, training_set
from recjobs.models.blend import Blend, BlendSettings
from recjobs.models.relations import TellsFeatures

N = 20
NEW = (98, 99)  # white, black: nobody has chosen them


def train_of() -> TrainingSet:
    """Users choose items of their own colour, and each the first item of the other."""
    rows = [(u, i, float(i)) for u in range(N) for i in range(u % 2, N, 2) if (u + i) % 5]
    rows += [(u, 1 - u % 2, 0.0) for u in range(N)]
    log = log_of(rows, items=NEW)
    log = replace(log, item_created=np.zeros(len(log.items), dtype=np.int64))
    log = replace(log, item_features=colours(log))
    return training_set(log, every(log), 100 * 86_400_000_000, FeedbackSettings())


def fitted(train: TrainingSet, ials: float) -> Blend:
    parts = {"ials": {"embedding_dim": 4}, "content": {}}
    model = Blend(BlendSettings.model_validate({"models": parts}), seed=1, threads=2)
    model.choices = {"weights": {"ials": ials, "content": 1 - ials}, "epochs": {}}
    model.fit(train)
    return model


def test_what_the_weightiest_model_does_not_know_is_explained_by_the_next() -> None:
    train = train_of()
    model = fitted(train, ials=0.6)
    relation, ials = model.relation(), model.parts["ials"].relation()
    assert relation is not None
    assert ials is not None
    assert not isinstance(relation, TellsFeatures)
    users = np.arange(N, dtype=np.int32)
    history = SeenItems(train.indptr, train.item_idx)
    lists = np.tile(np.array([4, N, 7, N + 1, -1], dtype=np.int32), (N, 1))
    found = relation.because(lists, users, history)
    old = ials.because(lists, users, history)
    assert (old[:, [1, 3, 4]] == -1).all()
    np.testing.assert_array_equal(found[:, [0, 2, 4]], old[:, [0, 2, 4]])
    assert (found[:, 1] % 2 == 0).all()  # the white one is like what is white
    assert (found[:, 3] % 2 == 1).all()
    for user in users:
        chosen = train.item_idx[train.indptr[user] : train.indptr[user + 1]]
        assert np.isin(found[user, :4], chosen).all()

    items = np.array([N, 4, N + 1], dtype=np.int32)
    similar, likeness = relation.similar(items, train.candidates, 3)
    np.testing.assert_array_equal(similar[1], ials.similar(items, train.candidates, 3)[0][1])
    assert (similar[0] % 2 == 0).all()
    assert (similar[2] % 2 == 1).all()
    assert (likeness > 0).all()


def test_features_are_told_where_they_weigh_most() -> None:
    train = train_of()
    model = fitted(train, ials=0.4)
    relation, content = model.relation(), model.parts["content"].relation()
    assert isinstance(relation, TellsFeatures)
    assert isinstance(content, TellsFeatures)
    assert relation.names == content.names
    users = np.arange(N, dtype=np.int32)
    lists = np.tile(np.array([N, 4], dtype=np.int32), (N, 1))
    told = relation.because_features(lists, users)
    assert (told[:, :, 0] >= 0).any()
    np.testing.assert_array_equal(told, content.because_features(lists, users))
