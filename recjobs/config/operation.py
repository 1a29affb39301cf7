"""Who the job is, when it runs, and what is kept of its runs."""

from __future__ import annotations

import os

from pydantic import Field, field_validator

from recjobs.config.section import DateText, Section, Zone


class JobSettings(Section):
    """Who the job is."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")
    db_schema: str = Field(default="recs", alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,40}$")
    timezone: Zone = "UTC"
    seed: int = Field(default=42, ge=0, lt=2**31)
    training_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)

    @field_validator("db_schema")
    @classmethod
    def _own(cls, value: str) -> str:
        if value in ("public", "information_schema") or value.startswith("pg_"):
            raise ValueError("expected a schema of the job's own, not everybody's or Postgres's")
        return value


class PublishSettings(Section):
    """What is kept in Postgres, and for whom."""

    #: runs readable through the partitioned table; the one before the live one has readers still
    attached: int = Field(default=7, ge=2, le=7)
    archive_days: int = Field(default=90, ge=0)  #: older archived runs are dropped; 0 keeps none
    lock_timeout_ms: int = Field(default=2000, ge=1)
    writer_role: str = ""  #: default: <schema>_writer
    reader_role: str = ""  #: default: <schema>_reader


class ArtifactSettings(Section):
    """Where the stages leave their files: a local folder or an object store's URL."""

    root: str = ".recjobs/artifacts"
    keep_runs: int = Field(default=14, ge=1)


class LeaseSettings(Section):
    """One run of a job at a time."""

    ttl_seconds: float = Field(default=120.0, gt=0)  #: a silent holder loses the lease after it
    handover_seconds: float = Field(default=900.0, gt=0)  #: between two stages of a run


class ScheduleSettings(Section):
    """What Airflow needs to know."""

    cron: str = "30 2 * * *"
    timezone: Zone = "UTC"
    start_date: DateText = "2026-01-01"
    catchup: bool = False
    pool: str = "default_pool"
    owner: str = "recjobs"
    queue: str = ""
    retries: int = Field(default=3, ge=0)
    retry_delay_seconds: float = Field(default=60.0, ge=0)
    stage_timeout_minutes: float = Field(default=120.0, gt=0)
    #: shares of the users, scored and loaded by a mapped task each; no list depends on it
    shards: int = Field(default=1, ge=1, le=1024)
    wait_minutes: float = Field(default=360.0, gt=0)  #: for another run's lease
