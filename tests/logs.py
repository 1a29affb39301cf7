"""Small logs for the tests: written as rows, or drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from recjobs.artifacts import StageOutput
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import FeedbackSettings, Settings
from recjobs.dataset import NEVER, Interactions, TrainingSet, training_set
from recjobs.index import Index
from recjobs.models import Model
from recjobs.progress import Progress, silent
from recjobs.score import Scorer
from recjobs.shards import Shard

#: user_id, item_id, day, then the rating (None: none) and the event ("": none).
Row = tuple[int, int, float, float | None, str]
NAN = float("nan")


def log_of(
    rows: Sequence[tuple[object, ...]],
    *,
    users: Sequence[int] = (),
    items: Sequence[int] = (),
) -> Interactions:
    """Build a log from (user_id, item_id, day[, rating[, event]]), and ids without a row."""
    full = [(*row, *(None, "")[len(row) - 3 :]) for row in rows]
    full.sort(key=lambda r: (r[0], r[2], r[1]))
    user_ids = pa.array([r[0] for r in full], pa.int64())
    item_ids = pa.array([r[1] for r in full], pa.int64())
    user_index = Index.of("bigint", user_ids, pa.array(users, pa.int64()))
    item_index = Index.of("bigint", item_ids, pa.array(items, pa.int64()))
    names = sorted({r[4] for r in full} - {""})
    return Interactions(
        users=user_index,
        items=item_index,
        user_idx=user_index.encode(user_ids),
        item_idx=item_index.encode(item_ids),
        ts=np.array([round(r[2] * DAY) for r in full], dtype=np.int64),
        rating=np.array([NAN if r[3] is None else r[3] for r in full], dtype=np.float32),
        event=np.array([names.index(r[4]) if r[4] else -1 for r in full], dtype=np.int16),
        event_names=tuple(names),
        eligible=np.ones(len(user_index), dtype=np.bool_),
        available=np.ones(len(item_index), dtype=np.bool_),
        item_created=np.full(len(item_index), NEVER, dtype=np.int64),
    )


def every(log: Interactions) -> np.ndarray:
    """All rows of a log."""
    return np.ones(len(log), dtype=np.bool_)


def sets(log: Interactions) -> tuple[TrainingSet, TrainingSet]:
    """All rows but those of the last instant, and these."""
    last = log.ts == log.ts.max()
    fit, validation = (
        training_set(log, rows, 400 * DAY, FeedbackSettings()) for rows in (~last, last)
    )
    return fit, validation


def before(log: Interactions, as_of: int) -> Interactions:
    """The log without the rows at or after as_of; the indexes stay."""
    rows = log.ts < as_of
    names = ("user_idx", "item_idx", "ts", "rating", "event")
    return replace(log, **{name: getattr(log, name)[rows] for name in names})


@st.composite
def rows(
    draw: st.DrawFn,
    *,
    min_rows: int = 0,
    max_rows: int = 40,
    users: int = 6,
    items: int = 6,
    days: int = 10,
) -> list[Row]:
    """Rows with many ties in time and many repeated pairs."""
    row = st.tuples(
        st.integers(1, users),
        st.integers(1, items),
        st.integers(0, days).map(float),
        st.none() | st.sampled_from([1.0, 2.5, 4.0, 5.0]),
        st.sampled_from(["", "buy", "view"]),
    )
    return draw(st.lists(row, min_size=min_rows, max_size=max_rows))


def settings_of(**sections: object) -> Settings:
    """Settings of a job, with sections given as dicts."""
    return Settings.model_validate(
        {"job": {"name": "unit", "training_threads": 2}, "source": {"table": "t"}, **sections}
    )


def score(
    model: Model | None,
    log: Interactions,
    as_of: int,
    settings: Settings,
    out: StageOutput,
    progress: Progress = silent,
) -> None:
    """Write everyone's lists and what goes with them, as the stage of one process does."""
    scorer = Scorer(model, log, as_of, settings)
    scorer.lists(Shard(1, 1), out, progress)
    scorer.rest(out)
