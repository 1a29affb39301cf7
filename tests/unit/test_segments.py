"""Segments of users: popular lists of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logs import every, log_of, score, settings_of
from recjobs import models, segments
from recjobs.artifacts import StageOutput
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import FeedbackSettings
from recjobs.dataset import Interactions, SeenItems, TrainingSet, training_set
from recjobs.errors import DataError
from recjobs.index import Index
from recjobs.models.popular import by_segment, popularity
from recjobs.models.ranking import Ranker
from recjobs.progress import silent
from recjobs.score import top_n
from recjobs.segments import NO_SEGMENTS, Segments, segments_of
from recjobs.topn import top_n_of_scores

USERS = list(range(1, 41))


def log() -> Interactions:
    """The north likes 10 to 12, the far more numerous south 20 to 22; newcomers have done nothing.

    91 is of the north, 92 of the south, 93 of nowhere.
    """
    rows = [(u, (10 if u <= 10 else 20) + place, 1.0) for u in USERS for place in range(3)
            if place < 2 or u % 2]  # fmt: skip
    found = log_of(rows, users=[91, 92, 93])
    names = ["N" if u <= 10 or u == 91 else "S" for u in [*USERS, 91, 92]] + [None]
    table = pa.table({"user_id": [*USERS, 91, 92, 93], "segment": names})
    return replace(found, segments=segments_of(table, "user_id", found.users))


def train_of(found: Interactions) -> TrainingSet:
    return training_set(found, every(found), 2 * DAY, FeedbackSettings())


def listed(train: TrainingSet, user_id: int, model: models.Model | None = None) -> list[int]:
    users = train.users.encode(pa.array([user_id]))
    nothing = SeenItems(np.zeros(train.n_users + 1, dtype=np.int64), np.zeros(0, dtype=np.int32))
    (block,) = top_n(model, train, users, nothing, train.candidates, 3, block_users=10)
    ids: list[int] = train.items.decode(block.item_idx[0]).to_pylist()
    return ids


def test_a_newcomer_gets_the_popular_list_of_their_segment() -> None:
    train = train_of(log())
    assert listed(train, 91) == [10, 11, 12]
    assert listed(train, 92) == [20, 21, 22]
    assert listed(train, 93) == [20, 21, 22]  # everybody's
    without = train_of(replace(log(), segments=NO_SEGMENTS))
    assert {tuple(listed(without, user)) for user in (91, 92, 93)} == {(20, 21, 22)}


def test_a_user_whom_an_earlier_index_lacks_is_in_everybodys() -> None:
    found = segments_of(
        pa.table({"user_id": [1, 2], "segment": ["N", "S"]}), "user_id",
        Index.of("bigint", pa.array([1, 2])),
    )  # fmt: skip
    assert found.of(np.int32([1, 2, 9, 0])).tolist() == [1, -1, -1, 0]


def test_lists_of_several_segments_in_one_block_are_those_of_each() -> None:
    train = train_of(log())
    users = np.arange(train.n_users, dtype=np.int32)
    seen = SeenItems(train.indptr, train.item_idx)
    (whole,) = top_n(None, train, users, seen, train.candidates, 4, block_users=100)
    single = list(top_n(None, train, users, seen, train.candidates, 4, block_users=1))
    np.testing.assert_array_equal(whole.item_idx, np.concatenate([b.item_idx for b in single]))
    np.testing.assert_array_equal(whole.score, np.concatenate([b.score for b in single]))


def test_the_model_popular_ranks_by_segment_and_survives_saving(tmp_path: Path) -> None:
    train = train_of(log())
    model = models.make("popular", {}, seed=1, threads=1)
    model.fit(train)
    model.save(tmp_path)
    for each in (model, models.load("popular", tmp_path)):
        assert listed(train, 1, each) == [10, 11, 12]
        assert listed(train, 40, each) == [20, 21, 22]


def test_the_lists_of_popular_are_those_of_a_full_sort() -> None:
    train = train_of(log())
    model = models.make("popular", {}, seed=1, threads=1)
    model.fit(train)
    assert isinstance(model, models.BlockModel)
    users = np.arange(train.n_users, dtype=np.int32)
    seen = SeenItems(train.indptr, train.item_idx)
    for allowed in ({10, 12, 20, 21, 22}, {11, 20, 22}):  # other candidates, other lists
        candidates = np.isin(train.items.ids.to_numpy(), list(allowed))
        found = Ranker(model, candidates).top_n(users, seen, 4)
        expected = top_n_of_scores(model.score_block(users), users, seen, candidates, 4)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_small_segment_follows_the_others_until_it_has_a_say() -> None:
    rows = [(u, 20 + u % 3, 1.0) for u in range(60)] + [(100, 10, 1.0)]
    found = log_of(rows)
    table = pa.table({"user_id": found.users.ids, "segment": ["S"] * 60 + ["N"]})
    train = train_of(replace(found, segments=segments_of(table, "user_id", found.users)))
    counts = by_segment(train, 3.0)
    assert counts.shape == (3, train.n_items)
    np.testing.assert_array_equal(counts[-1], popularity(train, 3.0))
    assert (np.diff(counts[0][1:]) == 0).all()
    assert 0 < counts[0][0] < counts[0][1]  # its one interaction against 20 of everybody's


def test_popularity_is_counted_back_from_the_newest_before_1970_too() -> None:
    rows = [(user, item, 10.0 * item) for user in range(6) for item in range(user % 3 + 1)]
    late, early = (
        train_of(log_of([(user, item, day + since) for user, item, day in rows]))
        for since in (0.0, -9000.0)
    )
    np.testing.assert_array_equal(popularity(early, 3.0), popularity(late, 3.0))


def test_the_stage_writes_a_popular_list_for_each_segment(tmp_path: Path) -> None:
    out = StageOutput(tmp_path)
    score(None, log(), 2 * DAY, settings_of(), out, silent)
    rows = pq.read_table(tmp_path / "popular.parquet").to_pylist()
    assert [(row["segment"], row["item_ids"][:2]) for row in rows] == [
        ("N", [10, 11]), ("S", [20, 21]), ("all", [20, 21]),
    ]  # fmt: skip


def test_the_largest_segments_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MOST", 2)
    index = Index.of("bigint", pa.array(range(9), pa.int64()))
    names = ["b", "b", "a", "c", "c", " c", "all", "", None, "b"]
    table = pa.table({"user_id": pa.array(range(10), pa.int64()), "segment": names})
    found = segments_of(table, "user_id", index)
    assert found.names == ("b", "c")
    assert found.code.tolist() == [0, 0, -1, 1, 1, 1, -1, -1, -1]
    assert segments_of(table.drop("segment"), "user_id", index) is NO_SEGMENTS


def test_a_segment_may_not_be_called_as_everybody_is() -> None:
    with pytest.raises(DataError, match=r"none of them 'all'. Received: \('all',\)"):
        Segments(("all",), np.zeros(1, dtype=np.int16))
