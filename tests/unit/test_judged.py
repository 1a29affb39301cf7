"""Who judges while a model is chosen: by the same rule of what is seen as the holdout."""

from __future__ import annotations

import pytest

from logs import Row, log_of, settings_of
from recjobs import models
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.dataset import TrainingSet, training_set
from recjobs.evaluate.holdout import holdout
from recjobs.models.judged import Judged
from recjobs.split import split

#: Everyone views 1, buys 2 and views 3; then buys again what they had, or what they looked at.
BASKETS: list[Row] = [
    row
    for user in range(1, 9)
    for row in (
        (user, 1, 0.0, None, "view"),
        (user, 2, 1.0, None, "buy"),
        (user, 3, 2.0, None, "view"),
        (user, 2 + user % 2, 5.0, None, "buy"),
        (user, 2 + user % 2, 9.5, None, "buy"),
    )
]


def parts_of(rule: str, since: float = 0.0) -> tuple[TrainingSet, TrainingSet, Judged]:
    """What is fitted on, what validates, and who judges it."""
    log = log_of([(user, item, day + since, *rest) for user, item, day, *rest in BASKETS])
    job = settings_of(
        feedback={"event_weights": {"buy": 1.0}, "exclude_seen": rule},
        holdout={"days": 1, "validation_share": 0.25},
    )
    parts = split(log, job.holdout, round(10 + since) * DAY)
    fit, validation = (
        training_set(log, rows, parts.cutoff, job.feedback)
        for rows in (parts.fit, parts.validation)
    )
    judged = Judged.of(fit, validation, fit.trained, 100)
    # The holdout repeats the validation part: judged by what is fitted on, and as if it came right
    # after it, it has the same users.
    after = round(2 + since) * DAY + 1
    held = holdout(log, type(parts)(parts.fit, parts.fit & False, parts.holdout, after), job)
    assert judged.users.tolist() == held.users.tolist()
    assert judged.liked.tolist() == held.relevant.tolist()
    assert judged.indptr.tolist() == held.indptr.tolist()
    assert judged.seen.indptr.tolist() == held.seen.indptr.tolist()
    assert judged.seen.indices.tolist() == held.seen.indices.tolist()
    return fit, validation, judged


@pytest.mark.parametrize(
    ("rule", "n_judged"), [("all", 0), ("none", 8), ("buy", 4), ("7d", 0), ("1d", 4)]
)
def test_who_judges_goes_by_what_may_be_recommended(rule: str, n_judged: int) -> None:
    assert len(parts_of(rule)[2].users) == n_judged
    assert len(parts_of(rule, since=-9000.0)[2].users) == n_judged  # before 1970


def test_epochs_are_found_where_everything_is_bought_again() -> None:
    fit, validation, _ = parts_of("none")
    params = {"embedding_dim": 4, "epochs": 3}
    history = models.make("mf", params, seed=1, threads=2).fit(fit, validation=validation)
    assert all(epoch.validation is not None for epoch in history.epochs)
