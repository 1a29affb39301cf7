"""What the half-lives of recent popularity may be, in every model that has them."""

from __future__ import annotations

import numpy as np
import pytest

from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.errors import ConfigError
from recjobs.models import REGISTRY, check_params, model_class
from recjobs.models.recency import recency

MODELS = [name for name in REGISTRY if "recency_days" in model_class(name).Settings.model_fields]


def test_these_models_have_them() -> None:
    assert MODELS == ["mf", "ncf", "two_tower"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("days", [0, -7.0, float("nan"), float("inf")])
def test_a_half_life_is_a_number_of_days_above_0(model: str, days: float) -> None:
    with pytest.raises(ConfigError) as raised:
        check_params(model, {"recency_days": [1, days]})
    assert str(raised.value).startswith("model.params.recency_days.1: Input should be ")
    assert str(raised.value).endswith(f". Received: {days!r}")


@pytest.mark.parametrize("gap", [100, 130, 140, 150, 400])
def test_shares_are_finite_after_any_gap(gap: int) -> None:
    ts = np.repeat(np.arange(10), 200) * gap * DAY
    item_idx = np.resize(np.arange(6, dtype=np.int32), len(ts))
    found = recency(item_idx, ts, 7, (1.0, 7.0))  # nobody chose item 6
    assert np.isfinite(found.shares).all()
    assert found.moves


def test_nothing_has_no_shares() -> None:
    found = recency(np.zeros(0, np.int32), np.zeros(0, np.int64), 7, (1.0, 7.0))
    assert (len(found.time), found.moves) == (0, False)
