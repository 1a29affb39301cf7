"""Content: features as rows, and lists made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from logs import every, log_of
from recjobs import models
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import FeedbackSettings
from recjobs.dataset import Interactions, SeenItems, TrainingSet, training_set
from recjobs.errors import ConfigError
from recjobs.featurize import from_table
from recjobs.list_rows import ListRows
from recjobs.models.feature_rows import FeatureRows
from recjobs.models.relations import TellsFeatures
from recjobs.score import top_n
from recjobs.topn import TopN

ITEMS = pa.table(
    {
        "item_id": [1, 2, 3, 4, 5, 6],
        "title": ["Star Wars", "Star Trek", "Star Gate", "Love Story", "Love Actually", "A Love"],
        "genres": ["Sci-Fi", "Sci-Fi", "Sci-Fi|War", "Drama", "Drama|Comedy", None],
        "year": [1977.0, 1979.0, 1994.0, None, 2003.0, 1970.0],
    }
)
#: 3 and 6 are new.
ROWS = [(1, 1, 1.0), (1, 4, 400.0), (2, 4, 2.0), (2, 5, 3.0), (3, 2, 1.0)]


def known(log: Interactions, table: pa.Table = ITEMS) -> Interactions:
    return replace(log, item_features=from_table(table, log.items))


def train_of(log: Interactions) -> TrainingSet:
    log = replace(log, item_created=np.zeros(len(log.items), dtype=np.int64))
    return training_set(log, every(log), 500 * DAY, FeedbackSettings())


def fitted(train: TrainingSet, **params: Any) -> models.Model:
    model = models.make("content", params, seed=1, threads=1)
    model.fit(train)
    return model


def lists(model: models.Model, train: TrainingSet, n: int = 4) -> list[list[int]]:
    """Everybody's lists as ids, the model's entries alone."""
    users = np.arange(train.n_users, dtype=np.int32)
    seen = SeenItems(train.indptr, train.item_idx)
    (block,) = top_n(model, train, users, seen, train.candidates, n, block_users=100)
    return [
        train.items.decode(row[:own]).to_pylist()
        for row, own in zip(block.item_idx, block.n_model, strict=True)
    ]


def test_new_items_are_recommended_by_what_they_are() -> None:
    train = train_of(known(log_of(ROWS, items=[3, 6])))
    model = fitted(train, popularity=0.0)
    found = lists(model, train)
    assert found[1] == [6, 2, 1, 3] or found[1][0] == 6  # who loves love stories
    assert set(found[2][:2]) == {1, 3}  # who watched Star Trek
    relation = model.relation()
    assert relation is not None
    new = train.items.encode(pa.array([3, 6])).reshape(1, 2)
    users = train.users.encode(pa.array([1]))
    because = relation.because(new, users, SeenItems(train.indptr, train.item_idx))
    assert train.items.decode(because[0]).to_pylist() == [1, 4]


def test_the_features_that_weigh_most_are_told() -> None:
    train = train_of(known(log_of(ROWS, items=[3, 6])))
    model = fitted(train)
    relation = model.relation()
    assert isinstance(relation, TellsFeatures)
    users = np.arange(train.n_users, dtype=np.int32)
    items = np.tile(np.arange(train.n_items, dtype=np.int32), (len(users), 1))
    items[:, 0] = -1
    found = relation.because_features(items, users)
    profiles, rows = relation.profiles(users).toarray(), model._rows.toarray()
    for user in users:
        assert (found[user, 0] == -1).all()  # an entry to leave alone
        for item in range(1, train.n_items):
            shares: Counter[str] = Counter()
            for place, share in enumerate(profiles[user] * rows[item]):
                shares[relation.names[relation.name_of[place]]] += float(share)
            told = [relation.names[name] for name in found[user, item] if name >= 0]
            most = [name for name, share in shares.most_common(3) if share > 0]
            assert [shares[name] for name in told] == pytest.approx([shares[n] for n in most])
    reasons = ListRows(model, train, 2)
    block = TopN(users, items[:, 1:3], np.ones((3, 2), np.float32), np.int32([2, 1, 0]))
    told = reasons.batch(block).column("because_features").to_pylist()
    # Who watched Star Wars: Star Trek and Star Gate; an entry of the fallback has no features.
    assert told == [["genres=Sci-Fi, star", "star, genres=Sci-Fi"], [None, None], [None] * 2]


def test_numbers_are_told_by_their_column() -> None:
    table = ITEMS.set_column(3, "year", pa.array([1979.0, 1980.0, 1994.0, None, 2003.0, 1970.0]))
    train = train_of(known(log_of(ROWS, items=[3, 6]), table))
    relation = fitted(train).relation()
    assert isinstance(relation, TellsFeatures)
    user, item = train.users.encode(pa.array([3])), train.items.encode(pa.array([1]))
    found = relation.because_features(item.reshape(1, 1), user)
    # Both lie between the same two quantiles, which go by one name.
    assert [relation.names[name] for name in found[0, 0]] == ["genres=Sci-Fi", "star", "year"]


def test_what_was_liked_long_ago_counts_less() -> None:
    train = train_of(known(log_of(ROWS, items=[3, 6])))
    ever, lately = (fitted(train, popularity=0.0, half_life_days=days) for days in (None, 30.0))
    space, love = train.items.encode(pa.array([2, 5]))
    user = train.users.encode(pa.array([1]))
    scores = [model.score_block(user)[0] for model in (ever, lately)]  # type: ignore[attr-defined]
    assert scores[1][love] - scores[1][space] > scores[0][love] - scores[0][space]


def test_a_user_without_history_is_known_by_their_own_text() -> None:
    log = known(log_of(ROWS, users=[8, 9], items=[3, 6]))
    queries = pa.table({"user_id": [8, 9], "queries": ["space stars, star wars", "zzz nothing"]})
    log = replace(log, user_features=from_table(queries, log.users))
    train = train_of(log)
    model = fitted(train, popularity=0.0)
    assert model.known_users.tolist() == [True, True, True, True, False]
    assert set(lists(model, train)[3][:3]) == {1, 2, 3}
    assert not fitted(train, own_features=0.0).known_users[3]


def test_an_item_without_features_is_left_to_the_fallback() -> None:
    train = train_of(known(log_of([*ROWS, (3, 7, 2.0)])))
    model = fitted(train)
    assert train.items.decode(np.flatnonzero(~model.known_items)).to_pylist() == [7]
    assert all(7 not in row for row in lists(model, train, 9))


def test_popular_features_are_expected_to_be_popular() -> None:
    rows = [(user, item, 1.0) for user in range(30) for item in (4, 5)] + [(50, 1, 1.0), (51, 2, 1)]
    train = train_of(known(log_of(rows, items=[3, 6])))
    model = fitted(train, popularity=0.5, l2=0.1)
    found = lists(model, train, 2)
    assert found[-1] == [4, 5]  # though they watched Star Trek
    assert lists(fitted(train, popularity=0.0), train, 2)[-1] == [1, 3]


def test_an_old_item_is_as_popular_as_it_is() -> None:
    rows = [(user, 1 if user % 5 else 2, 1.0) for user in range(40)] + [(50, 3, 1.0)]
    train = train_of(known(log_of(rows)))
    found = lists(fitted(train, numbers=0.0, popularity=0.5), train)[-1]
    assert found == [1, 2]  # each is as like Star Gate as the other


def test_without_features_the_model_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"content needs to know .*Set source.items.text, categ"):
        fitted(train_of(log_of(ROWS)))


def test_own_features_survive_saving(tmp_path: Path) -> None:
    log = known(log_of(ROWS, users=[8]))
    queries = pa.table({"user_id": [8], "queries": ["star wars"]})
    train = train_of(replace(log, user_features=from_table(queries, log.users)))
    model = fitted(train)
    model.save(tmp_path)
    assert lists(models.load("content", tmp_path), train) == lists(model, train)


def test_words_weigh_as_scikit_learn_has_them() -> None:
    log = log_of([(1, item, 1.0) for item in range(1, 7)])
    features = from_table(ITEMS, log.items)
    rows = FeatureRows(features, categories=0.0, numbers=0.0).rows(features)
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    expected = vectorizer.fit_transform(ITEMS["title"].to_pylist())
    width = len(vectorizer.vocabulary_)
    np.testing.assert_allclose(rows[:, :width].toarray(), expected.toarray(), rtol=1e-5)
    assert rows[:, width:].nnz == 0


def test_near_numbers_are_alike_and_far_ones_are_not() -> None:
    table = pa.table({"item_id": list(range(100)), "price": [float(n**3) for n in range(100)]})
    log = log_of([(1, item, 1.0) for item in range(100)])
    features = from_table(table, log.items)
    rows = FeatureRows(features).rows(features)
    likeness = (rows @ rows.T).toarray()
    np.testing.assert_allclose(np.diag(likeness), 1, rtol=1e-5)
    assert likeness[50, 52] > 0.9
    assert likeness[50, 95] == 0
    constant = pa.table({"item_id": list(range(100)), "price": [3.0] * 100})
    flat = from_table(constant, log.items)
    assert FeatureRows(flat).rows(flat).shape == (100, 0)


def test_quantiles_that_float32_cannot_tell_apart_are_one() -> None:
    # Days since 1970 of one bulk load: a step of float32 is 168 s there.
    step = np.spacing(np.float32(19787.416))
    days = [19787.416 + 0.1 * float(step) * item for item in range(20)]
    table = pa.table({"item_id": list(range(20)), "days": days, "genre": ["a", "b"] * 10})
    log = known(log_of([(user, user + 1, 1.0) for user in range(19)], items=range(20)), table)
    rows = FeatureRows(log.item_features).rows(log.item_features)
    assert np.isfinite(rows.data).all()
    scores = fitted(train_of(log)).score_block(np.arange(19, dtype=np.int32))  # type: ignore[attr-defined]
    assert np.isfinite(scores).all()


def test_a_users_scores_do_not_depend_on_the_block() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (user, int(item), float(rng.integers(300)))
        for user in range(500)
        for item in rng.choice(120, size=rng.integers(3, 5), replace=False)
    ]
    log = log_of(rows)

    def genres(id_column: str, ids: pa.Array, most: int) -> pa.Table:
        drawn = [[f"g{g}" for g in rng.choice(40, size=most, replace=False)] for _ in ids]
        return pa.table({id_column: ids, "genre": drawn})

    own = from_table(genres("user_id", log.users.ids, 3), log.users)
    log = replace(known(log, genres("item_id", log.items.ids, 1)), user_features=own)
    model = fitted(train_of(log))
    users = np.arange(500, dtype=np.int32)
    whole = model.score_block(users)  # type: ignore[attr-defined]
    single = [model.score_block(users[u : u + 1]) for u in users]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.concatenate(single), whole)
