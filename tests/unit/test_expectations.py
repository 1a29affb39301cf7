"""What stops a night, and what only warns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recjobs.errors import CheckFailedError
from recjobs.expectations import Outcome, require

outcomes = st.lists(
    st.builds(
        Outcome,
        stage=st.sampled_from(["validate", "check"]),
        name=st.sampled_from(["nulls", "volume", "churn", "coverage"]),
        level=st.sampled_from(["warn", "stop"]),
        passed=st.booleans(),
        observed=st.floats(0, 1),
        expected=st.floats(0, 1),
        message=st.uuids().map(str),
    ),
    max_size=6,
)


@given(outcomes)
def test_a_night_stops_only_for_what_is_set_to_stop(found: list[Outcome]) -> None:
    failed = [o for o in found if o.level == "stop" and not o.passed]
    if not failed:
        require(found)
        return
    with pytest.raises(CheckFailedError) as raised:
        require(found)
    text = str(raised.value)
    assert text.startswith(f"{len(failed)} expectation")
    assert all(f"{o.stage}.{o.name}: {o.message}" in text for o in failed)
    assert not any(o.message in text for o in found if o not in failed)
