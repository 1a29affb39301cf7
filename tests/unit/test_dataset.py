"""The encoded log, training sets and seen items, against a plain one in dicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from logs import NAN, Row, before, every, log_of, rows
from recjobs.columns import INTERACTION_COLUMNS, ITEM_COLUMNS, USER_COLUMNS
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import FeedbackSettings
from recjobs.dataset import (
    NEVER,
    Interactions,
    TrainingSet,
    contains,
    distinct,
    rows_of,
    seen_items,
    training_set,
)
from recjobs.dataset.training import _positives
from recjobs.errors import ConfigError, DataError
from recjobs.models.base import strengths
from recjobs.snapshot import read_snapshot

INSTANT = pa.timestamp("us", "UTC")
ARRAYS = ("indptr", "item_idx", "rating", "weight", "positive", "ts", "trained", "candidates")


def ids(train: TrainingSet) -> list[tuple[int, int]]:
    """The (user_id, item_id) of each pair."""
    users = train.users.decode(train.user_idx).to_pylist()
    return list(zip(users, train.items.decode(train.item_idx).to_pylist(), strict=True))


def same(one: TrainingSet, other: TrainingSet) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


feedbacks = st.builds(
    FeedbackSettings,
    positive_at=st.sampled_from([0.0, 3.0, 4.0]),
    event_weights=st.sampled_from([{}, {"buy": 5.0}, {"buy": 5.0, "view": 1.0}]),
    half_life_days=st.sampled_from([None, 2.0, 30.0]),
    min_user_interactions=st.integers(1, 3),
    min_item_interactions=st.integers(1, 3),
)


def plain(log: Interactions, chosen: Any, as_of: int, feedback: FeedbackSettings) -> dict[Any, Any]:
    """What a training set means, one row at a time: (rating, weight, positive, ts) per pair."""
    pairs: dict[Any, list[Any]] = {}
    for row in np.flatnonzero(chosen):
        event = log.event_names[log.event[row]] if log.event[row] >= 0 else ""
        rating = float(log.rating[row])
        if feedback.event_weights:
            weight = feedback.event_weights.get(event, 0.0)
        else:
            weight = float(np.isnan(rating) or rating >= feedback.positive_at)
        age = (as_of - int(log.ts[row])) / DAY
        decay = 0.5 ** (age / feedback.half_life_days) if feedback.half_life_days else 1.0
        key = (int(log.user_idx[row]), int(log.item_idx[row]))
        pairs.setdefault(key, []).append((rating, weight, weight * decay, int(log.ts[row])))
    found = {}
    for key, group in sorted(pairs.items()):
        # What comes later without a rating does not take it back.
        rating, last_weight, _, _ = ([g for g in group if not np.isnan(g[0])] or group)[-1]
        ts = group[-1][3]
        weights = [w for _, w, _, _ in group]
        positive = any(weights) if feedback.event_weights else bool(last_weight)
        if feedback.event_weights and positive:  # what is only seen later makes no choice new
            ts = [g[3] for g in group if g[1]][-1]
        found[key] = (rating, sum(d for _, _, d, _ in group) if positive else 0, positive, ts)
    return found


@settings(max_examples=150)
@given(rows(), feedbacks, st.data())
def test_a_training_set_is_the_plain_one(
    table: list[Row], feedback: FeedbackSettings, data: st.DataObject
) -> None:
    log = log_of(table, users=[1, 2, 99], items=[1, 2, 98])
    if feedback.event_weights and not set(feedback.event_weights) & set(log.event_names):
        with pytest.raises(ConfigError, match="event_weights: expected event types of the data"):
            training_set(log, every(log), 11 * DAY, feedback)
        return
    flags = st.lists(st.booleans(), min_size=len(log), max_size=len(log))
    chosen = np.array(data.draw(flags), dtype=np.bool_)
    train = training_set(log, chosen, 11 * DAY, feedback)
    expected = plain(log, chosen, 11 * DAY, feedback)
    keys = zip(train.user_idx.tolist(), train.item_idx.tolist(), strict=True)
    assert list(keys) == list(expected)  # in CSR order, each pair once
    columns = [train.rating, train.weight, train.positive, train.ts]
    for received, wanted in zip(columns, zip(*expected.values(), strict=True), strict=False):
        np.testing.assert_allclose(received, wanted, rtol=1e-5)
    assert train.indptr.tolist() == [
        sum(user < u for user, _ in expected) for u in range(len(log.users) + 1)
    ]
    users, items = log.user_idx[chosen].tolist(), log.item_idx[chosen].tolist()
    assert train.trained.tolist() == [
        users.count(u) >= feedback.min_user_interactions for u in range(train.n_users)
    ]
    assert train.candidates.tolist() == [
        items.count(i) >= feedback.min_item_interactions for i in range(train.n_items)
    ]
    assert [train.weight.dtype, train.item_idx.dtype, train.ts.dtype, train.indptr.dtype] == [
        np.float32, np.int32, np.int64, np.int64,
    ]  # fmt: skip


@given(rows(), feedbacks)
def test_sequences_are_the_log_user_by_user(table: list[Row], feedback: FeedbackSettings) -> None:
    log = log_of([*table, (1, 1, 0.0, None, "buy")], users=[99])
    train = training_set(log, every(log), 11 * DAY, feedback)
    found = train.sequences()
    _, weight = _positives(log, feedback)
    for user in range(train.n_users):
        mine = np.flatnonzero((log.user_idx == user) & (weight > 0) & train.trained[user])
        own = slice(*found.indptr[user : user + 2])
        assert found.item_idx[own].tolist() == log.item_idx[mine].tolist()
        assert found.ts[own].tolist() == log.ts[mine].tolist()


@given(rows(), feedbacks, st.integers(0, 11))
def test_rows_of_the_future_change_nothing(
    table: list[Row], feedback: FeedbackSettings, day: int
) -> None:
    """The same log, cut by the caller or never having had the later rows, gives the same set."""
    if feedback.event_weights:
        table = [*table, (1, 1, 0.0, None, "buy")]
    log = log_of(table)
    earlier = before(log, day * DAY)
    same(
        training_set(log, log.ts < day * DAY, day * DAY, feedback),
        training_set(earlier, every(earlier), day * DAY, feedback),
    )
    for rule in ("all", "none", "3d"):
        one = seen_items(log, log.ts < day * DAY, day * DAY, rule)
        other = seen_items(earlier, every(earlier), day * DAY, rule)
        np.testing.assert_array_equal(one.indptr, other.indptr)
        np.testing.assert_array_equal(one.indices, other.indices)


@given(rows(), st.sampled_from(["all", "none", "3d", "0d", "buy", "buy, view"]))
def test_seen_items_are_the_plain_ones(table: list[Row], rule: str) -> None:
    log = log_of([*table, (1, 1, 0.0, None, "buy"), (1, 2, 0.0, None, "view")], users=[77])
    as_of = 11 * DAY
    kept = {
        "all": lambda row: True,
        "none": lambda row: False,
        "3d": lambda row: log.ts[row] >= as_of - 3 * DAY,
        "0d": lambda row: log.ts[row] >= as_of,
        "buy": lambda row: log.event[row] == 0,
        "buy, view": lambda row: log.event[row] >= 0,
    }[rule]
    expected: list[set[int]] = [set() for _ in range(len(log.users))]
    for row in filter(kept, range(len(log))):
        expected[log.user_idx[row]].add(int(log.item_idx[row]))
    seen = seen_items(log, every(log), as_of, rule)
    received = [
        seen.indices[seen.indptr[u] : seen.indptr[u + 1]].tolist() for u in range(len(log.users))
    ]
    assert received == [sorted(items) for items in expected]
    assert (seen.indptr.dtype, seen.indices.dtype) == (np.int64, np.int32)


@given(st.lists(st.integers(-5, 5)), st.lists(st.integers(-7, 7)))
def test_sets_of_integers(known: list[int], asked: list[int]) -> None:
    ascending = distinct(np.array(known, dtype=np.int64))
    assert ascending.tolist() == sorted(set(known))
    found = contains(ascending, np.array(asked, dtype=np.int64))
    assert found.tolist() == [value in known for value in asked]


def test_an_unknown_rule_of_seen_items_is_refused() -> None:
    log = log_of([(1, 1, 1, None, "buy")])
    with pytest.raises(ConfigError, match=r"exclude_seen: .*\['buy'\].*Received: \['bought'\]"):
        seen_items(log, every(log), 2 * DAY, "bought")


@pytest.mark.parametrize("rule", ["2", "2d", "d"])
def test_days_are_digits_and_a_d_and_all_else_is_an_event(rule: str) -> None:
    log = log_of([(1, 1, 0, None, "2"), (1, 2, 9, None, "3"), (1, 3, 0, None, "d")])
    seen = seen_items(log, every(log), 10 * DAY, rule)
    assert seen.indices.tolist() == [["2", "2d", "d"].index(rule)]


def test_the_last_rating_counts() -> None:
    log = log_of([(1, 1, 1, 5.0), (1, 1, 2, 2.0), (1, 2, 1, 2.5), (1, 2, 2, 4.0)])
    train = training_set(log, every(log), 3 * DAY, FeedbackSettings(positive_at=4.0))
    assert train.rating.tolist() == [2.0, 4.0]
    assert train.positive.tolist() == [False, True]
    assert train.weight.tolist() == [0.0, 1.0]
    assert train.rating_range == (2.0, 5.0)  # of all rows
    assert train.history.tolist() == [2]


def test_a_view_does_not_make_a_purchase_new() -> None:
    rows = [(1, 1, 1, None, "buy"), (1, 1, 2, None, "view"), (1, 2, 2, None, "view")]
    bought = FeedbackSettings(event_weights={"buy": 1.0})
    train = training_set(log_of(rows), np.ones(3, np.bool_), 3 * DAY, bought)
    assert train.positive.tolist() == [True, False]
    assert train.ts.tolist() == [DAY, 2 * DAY]


def test_a_view_does_not_take_a_rating_back() -> None:
    likes = FeedbackSettings(positive_at=4.0)
    rows = [(1, 1, 1, 5.0), (1, 1, 2, None), (1, 2, 1, 1.0), (1, 2, 2, None), (1, 3, 1, None)]
    train = training_set(log_of(rows), np.ones(5, np.bool_), 3 * DAY, likes)
    np.testing.assert_array_equal(train.rating, [5.0, 1.0, np.nan])
    assert train.positive.tolist() == [True, False, True]
    assert train.weight.tolist() == [2.0, 0.0, 1.0]
    assert train.ts.tolist() == [2 * DAY, 2 * DAY, DAY]


def test_positives_are_of_trained_users() -> None:
    log = log_of([(1, 1, 1), (1, 2, 1), (2, 1, 1)], users=[3])
    train = training_set(log, every(log), 2 * DAY, FeedbackSettings(min_user_interactions=2))
    matrix = train.positives()
    assert matrix.toarray().tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    assert matrix.dtype == np.float32
    assert train.trained.tolist() == [True, False, False]


def test_a_positive_never_weighs_nothing() -> None:
    log = log_of([(1, 1, 0, 5.0), (1, 2, 3000, 5.0), (1, 3, 0, 1.0)])
    halved = FeedbackSettings(half_life_days=1, positive_at=4.0)
    train = training_set(log, every(log), 3001 * DAY, halved)
    assert train.weight.tolist() == [pytest.approx(1e-9), 0.5, 0.0]
    strength = strengths(train).data
    assert strength[0] ** 4 >= np.finfo(np.float32).tiny  # no loss of digits, to four of a kind


def test_candidates_are_known_and_available() -> None:
    log = log_of([(1, 1, 1), (1, 2, 1), (2, 2, 1), (1, 3, 1), (2, 3, 1)], items=[4, 5, 6])
    created = np.full(6, NEVER, dtype=np.int64)
    # 1 is not new any more; 4 is, 5 comes at as_of, 6 at an unknown time.
    created[[0, 3, 4]] = [0, 2 * DAY - 1, 2 * DAY]
    available = np.array([True, True, False, True, True, True])
    log = replace(log, item_created=created, available=available)
    train = training_set(log, every(log), 2 * DAY, FeedbackSettings(min_item_interactions=2))
    names = train.items.decode(np.flatnonzero(train.candidates)).to_pylist()
    assert names == [2, 4]


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_a_set_without_anything_to_learn_is_refused(kind: Any) -> None:
    log = log_of([(1, 1, 1, 2.0)])
    feedback = FeedbackSettings(kind=kind, positive_at=4.0)
    train = training_set(log, every(log), 2 * DAY, feedback)
    if kind == "explicit":
        train.require_rows()  # a low rating is something to learn from
        train = replace(train, trained=np.array([False]))
    with pytest.raises(DataError, match="nothing to learn from: 1 pairs"):
        train.require_rows()


def test_explicit_feedback_needs_ratings() -> None:
    log = log_of([(1, 1, 1), (2, 1, 1)])
    with pytest.raises(ConfigError, match=r"source\.rating"):
        training_set(log, every(log), 2 * DAY, FeedbackSettings(kind="explicit"))


def test_an_empty_log_is_a_set_without_pairs() -> None:
    log = log_of([], users=[1], items=[2])
    train = training_set(log, every(log), DAY, FeedbackSettings(half_life_days=3))
    assert (train.n_users, train.n_items, train.n_pairs) == (1, 1, 0)
    assert train.positives().shape == (1, 1)
    assert np.isnan(train.rating_range).all()
    assert seen_items(log, every(log), DAY, "all").indptr.tolist() == [0, 0]


@settings(max_examples=20)
@given(rows())
def test_save_and_load(tmp_path_factory: pytest.TempPathFactory, table: list[Row]) -> None:
    log = log_of(table, users=[50], items=[60])
    folder: Path = tmp_path_factory.mktemp("log")
    log.save(folder)
    loaded = Interactions.load(*(folder / name for name in Interactions.FILES))
    assert loaded.event_names == log.event_names
    assert loaded.users.ids.equals(log.users.ids)
    assert loaded.items.ids.equals(log.items.ids)
    for name in ("user_idx", "item_idx", "ts", "rating", "event", "eligible", "available"):
        one, other = getattr(loaded, name), getattr(log, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["user_idx", "rating", "event", "eligible", "item_created"])
def test_a_log_is_validated(name: str) -> None:
    log = log_of([(1, 1, 1), (1, 2, 1)])
    with pytest.raises(DataError, match=rf"{name}: expected shape \(\d,\)\. Received: \(0,\)"):
        replace(log, **{name: getattr(log, name)[:0]})


# The snapshot, as the earlier stages leave it.


def instants(days: list[float | None]) -> pa.Array:
    return pa.array([None if d is None else round(d * DAY) for d in days], pa.int64()).cast(INSTANT)


def snapshot(
    folder: Path,
    clicks: list[tuple[Any, Any, float]],
    items: list[tuple[Any, float | None, bool | None]] = (),  # type: ignore[assignment]
    users: list[tuple[Any, float | None, bool | None]] = (),  # type: ignore[assignment]
    types: tuple[pa.DataType, pa.DataType] = (pa.int64(), pa.string()),
) -> tuple[Path, Path, Path]:
    clicks = sorted(clicks, key=lambda c: (c[2], c[0], c[1]))
    n = len(clicks)
    tables = {
        "interactions": pa.table(
            [
                pa.array([c[0] for c in clicks], types[0]),
                pa.array([c[1] for c in clicks], types[1]),
                instants([c[2] for c in clicks]),
                pa.nulls(n, pa.float32()),
                pa.nulls(n, pa.string()),
            ],
            names=INTERACTION_COLUMNS,
        ),
        "items": pa.table(
            [
                pa.array([i[0] for i in items], types[1]),
                pa.nulls(len(items), pa.string()),
                instants([i[1] for i in items]),
                pa.array([i[2] for i in items], pa.bool_()),
            ],
            names=ITEM_COLUMNS,
        ),
        "users": pa.table(
            [
                pa.array([u[0] for u in users], types[0]),
                instants([u[1] for u in users]),
                pa.array([u[2] for u in users], pa.bool_()),
            ],
            names=USER_COLUMNS,
        ),
    }
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    paths = [folder / f"{name}.parquet" for name in tables]
    return paths[0], paths[1], paths[2]


CLICKS = [(2, "b", 1.0), (10, "a", 1.0), (2, "a", 2.0)]


def read(
    paths: tuple[Path, Path, Path], as_of: float = 3, *, catalogue: bool = False
) -> Interactions:
    instant = round(as_of * DAY)
    return read_snapshot(*paths, id_types=("bigint", "text"), as_of=instant, catalogue=catalogue)


def test_without_tables_everyone_with_an_interaction_is_eligible(tmp_path: Path) -> None:
    log = read(snapshot(tmp_path, CLICKS))
    assert log.users.ids.to_pylist() == [2, 10]
    assert log.items.ids.to_pylist() == ["a", "b"]
    assert log.eligible.tolist() == [True, True]
    assert log.available.tolist() == [True, True]
    assert log.item_created.tolist() == [NEVER, NEVER]
    assert log.ts.tolist() == [DAY, 2 * DAY, DAY]
    assert log.users.decode(log.user_idx).to_pylist() == [2, 2, 10]
    assert np.isnan(log.rating).all()
    assert log.event.tolist() == [-1, -1, -1]
    assert log.event_names == ()


@pytest.mark.parametrize("group_rows", [1, 2, 100])
def test_row_groups_are_put_together(tmp_path: Path, group_rows: int) -> None:
    paths = snapshot(tmp_path, [(2, "b", 1.0), (10, "a", 1.0), (2, "a", 2.0), (10, "b", 2.0)])
    table = pq.read_table(paths[0])
    some = {"rating": pa.array([3, None, 1, None], pa.float32()), "event": [None, None, "x", "a"]}
    for name, column in some.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(column))
    pq.write_table(table, paths[0], row_group_size=group_rows)
    log = read(paths)
    assert log.users.decode(log.user_idx).to_pylist() == [2, 2, 10, 10]
    assert log.items.decode(log.item_idx).to_pylist() == ["b", "a", "a", "b"]
    np.testing.assert_array_equal(log.rating, [3, 1, np.nan, np.nan])
    assert [log.event_names[event] if event >= 0 else None for event in log.event] == [
        None, "x", None, "a"
    ]  # fmt: skip
    pq.write_table(table[:0], paths[0])
    assert len(read(paths)) == 0


def test_the_users_table_says_who_is_eligible(tmp_path: Path) -> None:
    users = [(2, None, None), (3, 1.0, True), (4, 1.0, False), (5, 3.0, True), (6, None, True)]
    log = read(snapshot(tmp_path, CLICKS, users=users))
    # 10 has no row, 5 comes later, 6 at an unknown time: 3 is new, 2 is active (null counts so).
    names = log.users.ids.to_pylist()
    assert names == [2, 3, 4, 10]
    assert dict(zip(names, log.eligible.tolist(), strict=True)) == {
        2: True, 3: True, 4: False, 10: False,
    }  # fmt: skip


def test_the_items_table_says_what_is_available(tmp_path: Path) -> None:
    items = [("a", None, False), ("b", 9.0, None), ("c", 2.5, True), ("d", 3.0, True),
             ("e", None, True), ("f", 1.0, False)]  # fmt: skip
    log = read(snapshot(tmp_path, CLICKS, items=items))
    names = log.items.ids.to_pylist()
    assert names == ["a", "b", "c", "f"]
    assert log.available.tolist() == [False, True, True, False]
    assert log.item_created.tolist() == [NEVER, 9 * DAY, round(2.5 * DAY), DAY]
    train = training_set(log, every(log), 3 * DAY, FeedbackSettings())
    assert train.candidates.tolist() == [False, True, True, False]


@pytest.mark.parametrize("catalogue", [False, True])
def test_an_item_without_a_row_is_available_where_the_table_only_describes(
    tmp_path: Path, catalogue: bool
) -> None:
    log = read(snapshot(tmp_path, CLICKS, items=[("a", None, True)]), catalogue=catalogue)
    assert log.items.ids.to_pylist() == ["a", "b"]
    assert log.available.tolist() == [True, not catalogue]


def test_later_rows_of_tables_change_nothing(tmp_path: Path) -> None:
    """Byte for byte: users and items that came at or after as_of leave no trace."""
    users, items = [(2, 1.0, True), (10, 1.0, True)], [("a", 1.0, True), ("c", 2.0, True)]
    logs = []
    for name, more in (("now", []), ("later", [3.0, 4.0, None])):
        folder = tmp_path / name
        folder.mkdir()
        paths = snapshot(
            folder,
            CLICKS,
            items=[*items, *((f"z{day}", day, True) for day in more)],
            users=[*users, *((int(day or 0) + 20, day, True) for day in more)],
        )
        read(paths).save(folder)
        rows, sides, *ids = (folder / file for file in Interactions.FILES)
        logs.append([rows.read_bytes(), sides.read_bytes()])
        logs[-1] += [pq.read_table(path) for path in ids]
    assert logs[0] == logs[1]


def test_events_are_numbered_by_name(tmp_path: Path) -> None:
    paths = snapshot(tmp_path, CLICKS)
    table = pq.read_table(paths[0]).set_column(4, "event", pa.array(["view", None, "buy"]))
    table = table.set_column(3, "rating", pa.array([1.5, None, 4.0], pa.float32()))
    pq.write_table(table, paths[0])
    log = read(paths)
    assert log.event_names == ("buy", "view")
    assert log.event.tolist() == [1, 0, -1]
    np.testing.assert_array_equal(log.rating, np.array([1.5, 4.0, NAN], dtype=np.float32))


def test_rows_of_a_matrix_are_scipys() -> None:
    matrix = sparse.random(40, 9, density=0.2, format="csr", dtype=np.float32, random_state=1)
    matrix.indptr = matrix.indptr.astype(np.int64)
    assert (np.diff(matrix.indptr) == 0).any()
    for chosen in (np.arange(40), np.int32([39, 3, 3, 0]), np.int32([])):
        found = rows_of(matrix, chosen)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.toarray(), matrix.toarray()[chosen])
