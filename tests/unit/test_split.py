"""A split never leaks, loses nothing, and says why it can't be made."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from logs import Row, before, log_of, rows
from recjobs import split as split_module
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import HoldoutSettings
from recjobs.dataset import Interactions
from recjobs.errors import DataError
from recjobs.split import Split, last_rows, split, split_rows

AS_OF = 9 * DAY  # rows at days 9 and 10 are the future

holdouts = st.builds(
    HoldoutSettings,
    kind=st.sampled_from(["global_time", "last_per_user"]),
    days=st.sampled_from([0.5, 1.0, 3.0]),
    last=st.integers(1, 3),
    validation_share=st.sampled_from([0.01, 0.1, 0.3, 0.49]),
)


def attempt(log: Interactions, holdout: HoldoutSettings) -> Split:
    try:
        return split(log, holdout, AS_OF)
    except DataError:
        assume(False)
        raise


def test_the_seven_row_example() -> None:
    result = doctest.testmod(split_module)
    assert (result.attempted > 6, result.failed) == (True, 0)


@settings(max_examples=200)
@given(rows(min_rows=20, users=4), holdouts)
def test_parts_are_disjoint_and_of_the_past(table: list[Row], holdout: HoldoutSettings) -> None:
    log = log_of(table)
    parts = attempt(log, holdout)
    total = parts.fit.astype(int) + parts.validation + parts.holdout
    assert total.max() <= 1
    # Every row of the past is in a part: nothing is dropped in silence; none of the future is.
    np.testing.assert_array_equal(total == 1, log.ts < AS_OF)
    assert parts.fit.any()
    assert parts.validation.any()
    assert parts.holdout.any()
    np.testing.assert_array_equal(parts.training, parts.fit | parts.validation)
    assert log.ts[parts.training].max() < parts.cutoff <= AS_OF


@settings(max_examples=200)
@given(rows(min_rows=20, users=4), holdouts)
def test_global_time_never_leaks(table: list[Row], holdout: HoldoutSettings) -> None:
    log = log_of(table)
    parts = attempt(log, holdout.model_copy(update={"kind": "global_time"}))
    assert parts.cutoff == AS_OF - holdout.days * DAY
    assert log.ts[parts.fit].max() < log.ts[parts.validation].min()  # ties stay together
    assert log.ts[parts.validation].max() < parts.cutoff <= log.ts[parts.holdout].min()


@settings(max_examples=200)
@given(rows(min_rows=20, users=4), holdouts)
def test_last_per_user_holds_out_the_newest(table: list[Row], holdout: HoldoutSettings) -> None:
    log = log_of(table)
    parts = attempt(log, holdout.model_copy(update={"kind": "last_per_user"}))
    assert parts.cutoff == AS_OF
    for user in range(len(log.users)):
        mine = np.flatnonzero((log.user_idx == user) & (log.ts < AS_OF))
        held = np.flatnonzero(parts.holdout & (log.user_idx == user))
        tuned = np.flatnonzero(parts.validation & (log.user_idx == user))
        # The first ones stay to learn from.
        assert held.tolist() == mine[max(holdout.last, len(mine) - holdout.last) :].tolist()
        # At most one row for validation, the newest that is left, and another stays to learn from.
        left = mine[: len(mine) - len(held)]
        assert tuned.tolist() in ([], left[-1:].tolist())
        assert not (len(tuned) and len(left) < 2)
    wanted = round(int(parts.training.sum()) * holdout.validation_share)
    assert int(parts.validation.sum()) <= max(wanted, 1)


@given(rows(min_rows=20, users=4), holdouts)
def test_rows_of_the_future_change_nothing(table: list[Row], holdout: HoldoutSettings) -> None:
    log = log_of(table)
    past = log.ts < AS_OF
    whole, alone = attempt(log, holdout), attempt(before(log, AS_OF), holdout)
    for name in ("fit", "validation", "holdout"):
        np.testing.assert_array_equal(getattr(whole, name)[past], getattr(alone, name))
        assert not getattr(whole, name)[~past].any()


@settings(max_examples=20)
@given(rows(min_rows=20, users=4), holdouts)
def test_save_and_load(
    tmp_path_factory: pytest.TempPathFactory, table: list[Row], holdout: HoldoutSettings
) -> None:
    path: Path = tmp_path_factory.mktemp("split") / "split.npz"
    parts = attempt(log_of(table), holdout)
    parts.save(path)
    loaded = Split.load(path)
    assert loaded.cutoff == parts.cutoff
    for name in ("fit", "validation", "holdout"):
        received = getattr(loaded, name)
        assert received.dtype == np.bool_
        np.testing.assert_array_equal(received, getattr(parts, name))


def test_validation_is_about_its_share() -> None:
    log = log_of([(user, item, user + item * 0.01) for user in range(100) for item in range(10)])
    for kind in ("global_time", "last_per_user"):
        settings = HoldoutSettings(kind=kind, days=20, last=2, validation_share=0.1)
        parts = split(log, settings, 100 * DAY)
        share = parts.validation.sum() / parts.training.sum()
        assert share == pytest.approx(0.1, abs=0.02)


def test_validation_is_spread_over_the_users() -> None:
    log = log_of([(user, item, item) for user in range(100) for item in range(10)])
    parts = split(log, HoldoutSettings(kind="last_per_user", validation_share=0.02), 10 * DAY)
    users = log.user_idx[parts.validation]
    assert len(users) == 18  # of 900 rows
    assert (users.min(), users.max(), np.diff(np.sort(users)).max()) == (0, 99, 6)


@pytest.mark.parametrize(
    ("counts", "share", "held"),
    [
        ([3, 4, 3], 0.3, [0, 1, 2]),  # users, whose last rows are held
        ([1, 1, 1, 2, 1, 2, 1, 2, 2], 0.4, [5, 8]),  # half of four, though more are wanted
        ([2, 3, 2, 1, 2], 0.4, [1, 2]),
        ([2, 3, 2, 1, 2], 0.1, [1]),
        ([2, 1], 0.1, []),
        ([1, 1], 0.1, []),
    ],
)
def test_of_users_with_two_rows_half_keep_both(
    counts: list[int], share: float, held: list[int]
) -> None:
    user_idx = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    found = last_rows(user_idx, np.ones(len(user_idx), dtype=np.bool_), share)
    assert found.nonzero()[0].tolist() == [int(np.cumsum(counts)[user]) - 1 for user in held]


@pytest.mark.parametrize("counts", [[3], [3, 1, 1], [3, 2, 2, 1]])
def test_one_user_alone_with_two_rows_left_is_enough_for_a_night(counts: list[int]) -> None:
    user_idx = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    ts = np.arange(len(user_idx), dtype=np.int64) * DAY
    last_row = HoldoutSettings(kind="last_per_user", last=1)
    found = split_rows(user_idx, ts, last_row, as_of=100 * DAY)
    assert found.validation.nonzero()[0].tolist() == [1]


@pytest.mark.parametrize(
    ("kind", "table", "missing", "advice"),
    [
        ("global_time", [(1, 1, 1), (1, 2, 2)], "holdout", "a larger holdout.days"),
        ("global_time", [(1, 1, 8), (1, 2, 8)], "fit and validation", "a smaller holdout.days"),
        ("global_time", [(1, 1, 1), (2, 1, 1), (1, 2, 8)], "validation", "an earlier start"),
        ("last_per_user", [(1, 1, 1), (2, 1, 2)], "validation and holdout", 'kind = "global_time"'),
        ("last_per_user", [(1, 1, 1), (1, 2, 2)], "validation", "a smaller holdout.last"),
        ("global_time", [], "fit and validation and holdout", 'kind = "last_per_user"'),
        ("last_per_user", [], "fit and validation and holdout", 'kind = "global_time"'),
    ],
)
def test_an_empty_part_says_what_to_change(
    kind: str, table: list[tuple[int, int, float]], missing: str, advice: str
) -> None:
    holdout = HoldoutSettings(kind=kind, days=3, last=1)  # type: ignore[arg-type]
    with pytest.raises(DataError) as raised:
        split(log_of(table), holdout, AS_OF)
    assert f"no rows for {missing}: " in str(raised.value)
    assert advice in str(raised.value)
    assert "1970-01-10T00:00:00+00:00" in str(raised.value)


def test_parts_that_overlap_are_refused() -> None:
    one, none = np.array([True, False]), np.array([False, False])
    with pytest.raises(DataError, match=r"disjoint parts\. Received: 1 rows in two"):
        Split(one, none, one, 0)


def test_what_a_night_learned_from_no_later_one_holds_out() -> None:
    settings = HoldoutSettings(kind="last_per_user", last=3, validation_share=0.1)
    rows = [(user, item, float(item)) for user in range(1, 9) for item in range(1, 4 + user)]
    learned: set[tuple[int, float]] = set()
    for day in range(5, 13):
        log = log_of([row for row in rows if row[2] < day])
        parts = split(log, settings, day * DAY)
        pairs = np.stack([log.user_idx, log.ts], axis=1)
        held = {tuple(pair) for pair in pairs[parts.holdout].tolist()}
        assert not held & learned
        learned |= {tuple(pair) for pair in pairs[parts.fit | parts.validation].tolist()}
