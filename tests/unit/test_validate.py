"""The stage `validate`: each reason, each limit, and nothing lost between row groups."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recjobs.artifacts import RunFolder
from recjobs.config import ExpectationSettings
from recjobs.errors import CheckFailedError
from recjobs.expectations import Outcome, require
from recjobs.validate import validate

AS_OF = datetime(2016, 10, 17, tzinfo=UTC)
NOON = datetime(2016, 10, 16, 12, tzinfo=UTC)
SMALL = {"min_interactions": 1, "min_users": 1, "min_items": 1}
SCHEMA = pa.schema(
    [("user_id", pa.int64()), ("item_id", pa.string()), ("ts", pa.timestamp("us", "UTC")),
     ("rating", pa.float32()), ("event", pa.string())]
)  # fmt: skip

Row = tuple[int | None, str | None, datetime | None, float | None, str | None]
GOOD: Row = (1, "a", NOON, 4.0, "view")


def folder_of(path: Path, rows: list[Row], group_rows: int = 1000) -> RunFolder:
    """Return a run whose stage `extract` left these rows, in their order."""
    names = SCHEMA.names
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], SCHEMA)
    folder = RunFolder(str(path), 1)
    with folder.writing("extract") as out:
        pq.write_table(table, out.folder / "interactions.parquet", row_group_size=group_rows)
    return folder


class Validated:
    """What the stage left."""

    def __init__(
        self, path: Path, rows: list[Row], recent: tuple[int, ...] = (), group_rows: int = 1000,
        **limits: Any,
    ) -> None:  # fmt: skip
        folder = folder_of(path, rows, group_rows)
        expectations = ExpectationSettings(**{**SMALL, **limits})
        with folder.writing("validate") as out:
            validate(folder, expectations, dict(enumerate(recent, 1)), AS_OF, out)
        table = pq.read_table(folder.path("validate", "interactions.parquet"))
        assert table.schema == SCHEMA
        self.accepted = [tuple(row.values()) for row in table.to_pylist()]
        rejected = pq.read_table(folder.path("validate", "rejected.parquet"))
        assert set(rejected.schema.types) == {pa.string()}
        self.rejected = [tuple(row.values()) for row in rejected.to_pylist()]
        self.summary = folder.manifest("validate").summary
        outcomes = [Outcome(**outcome) for outcome in self.summary["outcomes"]]
        self.outcomes = {outcome.name: outcome for outcome in outcomes}


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("null", (None, "b", NOON, 4.0, "view")),
        ("null", (2, None, NOON, 4.0, "view")),
        ("null", (2, "b", None, 4.0, "view")),
        ("not_finite", (2, "b", NOON, math.nan, None)),
        ("not_finite", (2, "b", NOON, -math.inf, None)),
        ("bad_time", (2, "b", datetime(1970, 1, 1, tzinfo=UTC), 4.0, "view")),
        ("bad_time", (2, "b", datetime(1, 1, 2, tzinfo=UTC), None, None)),
        ("bad_time", (2, "b", AS_OF, 4.0, "view")),
        ("off_scale", (2, "b", NOON, 0.0, "view")),
        ("off_scale", (2, "b", NOON, 5.5, "view")),
        ("duplicate", GOOD),
    ],
)
def test_each_bad_row_is_set_aside_with_its_reason(tmp_path: Path, reason: str, row: Row) -> None:
    found = Validated(tmp_path, [GOOD, row], rating_min=0.5, rating_max=5.0)
    assert found.accepted == [GOOD]
    [(why, *values)] = found.rejected
    assert why == reason
    assert values[:2] == [None if v is None else str(v) for v in row[:2]]
    assert found.summary["rows"] == 1
    assert found.summary["rejected"] == {
        name: int(name == reason)
        for name in ("null", "not_finite", "bad_time", "off_scale", "duplicate")
    }


def test_good_rows_pass_in_their_order(tmp_path: Path) -> None:
    rows: list[Row] = [
        (1, "a", datetime(1970, 1, 2, tzinfo=UTC), None, None),  # no rating is none, not a null
        (1, "a", NOON, 0.5, "view"),
        (1, "a", NOON, 0.5, "buy"),
        (1, "a", NOON, 5.0, "buy"),
        (0, "b", AS_OF - timedelta(microseconds=1), 5.0, None),
    ]
    found = Validated(tmp_path, rows, rating_min=0.5, rating_max=5.0)
    assert (found.accepted, found.rejected) == (rows, [])
    assert all(outcome.passed for outcome in found.outcomes.values())


def test_ratings_on_the_limits_are_on_the_scale(tmp_path: Path) -> None:
    """4.8 and 0.7 are other numbers in float32 than in float64."""
    rows: list[Row] = [(1, "a", NOON, 0.7, None), (1, "b", NOON, 4.8, None)]
    found = Validated(tmp_path, rows, rating_min=0.7, rating_max=4.8)
    assert found.rejected == []
    found = Validated(tmp_path / "near", rows, rating_min=0.7001, rating_max=4.7999)
    assert found.summary["rejected"]["off_scale"] == 2


def test_a_row_of_several_faults_is_set_aside_once(tmp_path: Path) -> None:
    bad: Row = (None, "b", AS_OF, math.nan, None)
    found = Validated(tmp_path, [GOOD, bad, bad])
    assert [row[0] for row in found.rejected] == ["null", "null"]


def test_what_is_set_aside_is_kept_as_text(tmp_path: Path) -> None:
    found = Validated(
        tmp_path, [GOOD, (2, "b", AS_OF, 4.5, "view"), (None, None, None, None, None)]
    )
    assert found.rejected == [
        ("bad_time", "2", "b", "2016-10-17 00:00:00.000000Z", "4.5", "view"),
        ("null", None, None, None, None, None),
    ]


def test_where_nothing_is_set_aside_the_file_is_the_snapshot_s_own(tmp_path: Path) -> None:
    found = Validated(tmp_path, [GOOD, (2, "b", NOON, 4.0, None)])
    assert found.accepted == [GOOD, (2, "b", NOON, 4.0, None)]
    folder = RunFolder(str(tmp_path), 1)
    own, shared = (folder.path(stage, "interactions.parquet") for stage in ("extract", "validate"))
    assert own.samefile(shared)
    folder.remove("extract")
    assert len(pq.read_table(shared)) == 2


FEW = st.tuples(
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, NOON, AS_OF, datetime(1, 1, 2, tzinfo=UTC)]),
    st.sampled_from([None, 1.0, 9.0, math.inf]),
    st.sampled_from([None, "view"]),
)


def by_order(row: Row) -> tuple[tuple[bool, Any], ...]:
    user, item, ts, rating, event = row
    return tuple((value is None, value) for value in (ts, user, item, rating, event))


@given(st.lists(FEW, max_size=30), st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_the_row_groups_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], group_rows: int
) -> None:
    rows.sort(key=by_order)
    path = tmp_path_factory.mktemp("run")
    found = Validated(path, rows, group_rows=group_rows, rating_max=5.0)

    def good(row: Row) -> bool:
        user, item, ts, rating, _ = row
        return None not in (user, item) and ts == NOON and (rating is None or rating <= 5)

    assert found.accepted == list(dict.fromkeys(filter(good, rows)))
    assert len(found.accepted) + len(found.rejected) == len(rows)


def test_a_share_above_the_limit_fails_its_expectation(tmp_path: Path) -> None:
    good: list[Row] = [(n, "a", NOON, 4.0, None) for n in range(18)]
    bad: list[Row] = [(n, "a", AS_OF, 4.0, None) for n in range(2)]
    at_limit = Validated(tmp_path / "at", good + bad, max_bad_share=0.1).outcomes["bad_time"]
    assert at_limit.passed
    assert at_limit.message == "2 of 20 rows (10.00%) have an absurd time"

    above = Validated(tmp_path / "above", good + bad, max_bad_share=0.09).outcomes["bad_time"]
    assert (above.passed, above.observed, above.expected, above.level) == (False, 0.1, 0.09, "warn")
    assert "look at source.time_unit" in above.message
    require([above])  # a warning stops nothing

    stop = Validated(tmp_path / "stop", good + bad, max_bad_share=0.09, bad_time="stop")
    with pytest.raises(CheckFailedError, match=r"validate.bad_time: 2 of 20 rows"):
        require(list(stop.outcomes.values()))


def test_what_is_off_is_not_judged_but_still_set_aside(tmp_path: Path) -> None:
    levels = ("nulls", "not_finite", "bad_time", "duplicates", "off_scale", "volume", "too_few")
    off = dict.fromkeys(levels, "off")
    found = Validated(tmp_path, [(None, "a", NOON, 1.0, None)], min_users=99, **off)
    assert found.outcomes == {}
    assert found.summary["rejected"]["null"] == 1


@pytest.mark.parametrize(
    ("recent", "passed", "message"),
    [
        ((), True, "20 rows; no earlier run to compare with"),
        ((20, 20), True, "20 rows, against 20 in the mean of runs 1, 2"),
        ((10,), True, "against 10"),
        ((40,), True, "against 40"),
        ((9,), False, "a load that ran twice"),
        ((41,), False, "a load that is missing"),
    ],
)
def test_a_volume_far_from_recent_runs(
    tmp_path: Path, recent: tuple[int, ...], passed: bool, message: str
) -> None:
    rows: list[Row] = [(n, "a", NOON, 4.0, None) for n in range(20)]
    outcome = Validated(tmp_path, rows, recent).outcomes["volume"]
    assert outcome.passed == passed
    assert message in outcome.message


@pytest.mark.parametrize(
    ("rows", "recent", "passed"),
    [(115, 100, True), (100, 115, True), (116, 100, False), (100, 116, False), (0, 9, False)],
)
def test_a_volume_may_be_just_at_the_limit(
    tmp_path: Path, rows: int, recent: int, passed: bool
) -> None:
    table: list[Row] = [(n, "a", NOON, 4.0, None) for n in range(rows)]
    outcome = Validated(tmp_path, table, (recent,), volume_ratio=1.15).outcomes["volume"]
    assert outcome.passed == passed


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"min_interactions": 4},
            "3 interactions, at least 4 expected (validate.min_interactions)",
        ),
        ({"min_users": 3}, "2 users, at least 3 expected (validate.min_users)"),
        (
            {"min_items": 9, "min_users": 9},
            "2 users, at least 9 expected (validate.min_users); 1 it",
        ),
    ],
)
def test_too_few(tmp_path: Path, limits: dict[str, int], message: str) -> None:
    rows: list[Row] = [(u, "a", NOON, r, None) for u, r in ((1, 1.0), (1, 2.0), (2, 1.0))]
    outcome = Validated(tmp_path, rows, **limits).outcomes["too_few"]
    assert not outcome.passed
    assert message in outcome.message


def test_an_empty_snapshot_is_too_few(tmp_path: Path) -> None:
    found = Validated(tmp_path, [], min_interactions=5)
    assert (found.accepted, found.rejected) == ([], [])
    assert [name for name, outcome in found.outcomes.items() if not outcome.passed] == ["too_few"]
