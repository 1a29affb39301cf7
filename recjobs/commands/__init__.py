"""What each command does: one function per command, called by `cli` with its arguments."""

from __future__ import annotations

from recjobs.commands.live import promote, rollback, status
from recjobs.commands.looking import parts, show
from recjobs.commands.models import bench, tune
from recjobs.commands.nights import backfill, run, stage
from recjobs.commands.set_up import demo, doctor, init, migrate

__all__ = [
    "backfill", "bench", "demo", "doctor", "init", "migrate", "parts", "promote", "rollback",
    "run", "show", "stage", "status", "tune",
]  # fmt: skip
