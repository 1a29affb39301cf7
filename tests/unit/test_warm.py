"""How an earlier fit's weights become a start: by raw id, mixed with the initial ones."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from logs import every, log_of, settings_of
from recjobs.dataset import training_set
from recjobs.index import Index
from recjobs.models.warm import Start


def test_rows_are_matched_by_raw_id_and_mixed() -> None:
    log = log_of([(1, 30, 0.0), (2, 10, 0.0), (4, 20, 0.0)])
    train = training_set(log, every(log), int(log.ts.max()) + 1, settings_of().feedback)
    # It knew users 2, 3 and 4, of whom it learned nothing of 4, and items 20 and 30.
    model = SimpleNamespace(known_users=np.array([True, True, False]), known_items=np.ones(2, bool))
    users, items = (Index.of("bigint", pa.array(ids)) for ids in ([2, 3, 4], [20, 30]))
    start = Start.of(model, users, items, train, kept=0.75)
    assert start.users.tolist() == [-1, 0, -1]
    assert start.items.tolist() == [-1, 0, 1]
    initial, theirs = np.full((3, 1), 4, np.float32), np.array([[8], [16]], np.float32)
    assert start.rows(initial, theirs, start.items).ravel().tolist() == [4, 7, 13]
