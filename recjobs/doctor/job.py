"""Checks of the settings by themselves: what of them a night would refuse, and when it begins."""

from __future__ import annotations

from collections.abc import Iterator

from recjobs.begin import require_sound
from recjobs.config import Settings
from recjobs.doctor.finding import Finding, fail, ok
from recjobs.models import check_params, kinds_of


def check(settings: Settings) -> Iterator[Finding]:
    """Check the model and its hyperparameters, the baselines, and what some settings need."""
    require_sound(settings)
    yield ok("settings", f"a night with {settings.model.name} can begin with them")
    yield _features(settings)


def check_schedule(settings: Settings) -> Iterator[Finding]:
    """Check the cron expression, with what Airflow reads it with."""
    from croniter import croniter

    name, cron = "schedule.cron", settings.schedule.cron
    try:
        croniter("0 0 1 */3 *" if cron == "@quarterly" else cron)  # that name is Airflow's own
    except ValueError as error:
        mend = 'write minute, hour, day, month and weekday, such as "30 2 * * *"'
        yield fail(name, f"Airflow would not take {cron!r}: {error}", mend)
    else:
        yield ok(name, f"{cron}, {settings.schedule.timezone}")


def _features(settings: Settings) -> Finding:
    name, items = "model.features", settings.source.items
    model = settings.model
    kinds = kinds_of(model.name, check_params(model.name, model.params))
    needing = " and ".join(kind.name for kind in kinds if kind.needs_features)
    if not needing:
        return ok(name, "not needed")
    if items.text or items.categories or items.numbers:
        return ok(name, f"{needing} can learn from columns of source.items")
    message = f"{needing} can't do without features of items, and none are named"
    mend = "set source.items.text, categories or numbers; recjobs init proposes some"
    return fail(name, message, mend)
