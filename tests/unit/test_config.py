"""Settings: read, refused with a reason, overridden, hashed."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recjobs.config import Connection, Settings, load_settings, parse_value
from recjobs.errors import ConfigError
from recjobs.instants import nights, parse_as_of

TOML = """
[job]
name = "shop"
[source]
dsn = "postgresql://app@db/app"
table = "clicks"
"""


def load(tmp_path: Path, text: str = TOML, name: str = "shop.toml", **env: str) -> Settings:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load_settings(path, env)


def refusal(tmp_path: Path, text: str = TOML, **env: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text, **env)
    return str(raised.value)


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.job.name, settings.job.db_schema, settings.gate.min_users) == (
        "shop", "recs", 100,
    )  # fmt: skip
    assert settings.job.training_threads == (os.cpu_count() or 1)


def test_the_files_name_is_the_jobs(tmp_path: Path) -> None:
    text = '[source]\ntable = "clicks"\n'
    assert load(tmp_path, text, name="Shop-EU.toml").job.name == "shop_eu"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[gate]\nmin_user = 5\n', "gate.min_user: there is no such setting; did you mean 'min_us"),
        ('[gates]\nmin_users = 5\n', "gates: there is no such setting; did you mean 'gate'?"),
        ('[validate]\nnull = "off"\n', "validate.null: there is no such setting; did you mean 'nu"),
        ('[source.items]\nitem = "x"\n', "source.items.item: there is no such setting"),
        ('[score]\nzzz = 1\n', "known: block_users, margin, n, similar"),
        ('[score]\nn = 0\n', "score.n: Input should be greater than or equal to 1. Received: 0"),
        ("[publish]\nattached = 1\n", "attached: Input should be greater than or equal to 2"),
        ('[score]\nn = "ten"\n', "score.n: "),
        ('[holdout]\nkind = "random"\n', "holdout.kind: "),
        ('[feedback]\nevent_weights = {view = 0}\n', "the weight of event 'view' must be above 0"),
        ('[feedback]\nevent_weights = {view = nan}\n', "view: Input should be a finite number"),
        ('[schedule]\ntimezone = "Paris"\n', "there is no time zone 'Paris'"),
        ('[schedule]\nstart_date = "soon"\n', "schedule.start_date: "),
        ('[validate]\nearliest = "soon"\n', "validate.earliest: "),
        ('[validate]\nrating_min = 5\nrating_max = 1\n', "rating_min is 5 and rating_max 1: no ra"),
        ('[target]\ndsn = "postgresql://a@h/d"\ndsn_env = "X"\n', "give one of dsn, dsn_env"),
        ('source = 3\n', "source: "),
        ('artifacts = 3\n[source]\ntable = "t"\n', "artifacts: "),
        ('job = "shop"\n[source]\ntable = "t"\n', "job: "),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, expected: str) -> None:
    whole = text if "source =" in text or "[source]" in text else TOML + text
    message = refusal(tmp_path, whole)
    assert expected in message
    assert str(tmp_path / "shop.toml") in message


def test_a_date_needs_no_quotes(tmp_path: Path) -> None:
    text = (
        TOML + "[schedule]\nstart_date = 2026-03-01\n[validate]\nearliest = 1999-01-01T00:00:00Z\n"
    )
    settings = load(tmp_path, text)
    assert settings.schedule.start_date == "2026-03-01"
    assert settings.expectations.earliest == "1999-01-01T00:00:00+00:00"


@pytest.mark.parametrize("timezone", ["", "Mars/Olympus", "Europe", "../../etc/passwd", "UTC\0"])
def test_a_zone_must_exist(tmp_path: Path, timezone: str) -> None:
    text = TOML.replace("[source]", f'timezone = "{timezone}"\n[source]'.replace("\0", "\\u0000"))
    assert "there is no time zone" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app:secret@db/app",
        "host=db password=secret",
        "host=db password = 'secret'",
        "postgresql://app@db/app?password=secret",
        "postgresql://app@db/app?PASSWORD=secret",
        "postgresql://app:secret@[db/app",
    ],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(tmp_path: Path, dsn: str) -> None:
    message = refusal(tmp_path, TOML.replace("postgresql://app@db/app", dsn))
    assert "source.dsn" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    "text",
    [
        '[source]\ntable = "t"\nairflow_conn_id = "postgresql://me:hunter2@db/shop"\n',
        'source = "postgresql://me:hunter2@db/shop"\n',
        'source = "host=db password=hunter2"\n',
        'source = ["hunter2"]\n',
        'job = "postgresql://me:hun@ter2@db/shop"\n[source]\ntable = "t"\n',
        '[source]\ntable = "t"\nitems = "host=db PASSWORD = \'hunter2 or\' user=me"\n',
        '[source]\ntable = "t"\n[score]\nn = "postgresql://db/shop?password=hunter2"\n',
    ],
)
def test_a_password_in_the_wrong_place_is_not_repeated(tmp_path: Path, text: str) -> None:
    assert "ter2" not in refusal(tmp_path, text)
    refused = refusal(tmp_path, RECJOBS__TARGET="postgresql://me:hunter2@db/shop")
    assert "target: " in refused
    assert "hunter2" not in refused


def test_what_is_no_password_is_repeated(tmp_path: Path) -> None:
    assert "Received: 'http://x'" in refusal(tmp_path, TOML + '[score]\nn = "http://x"\n')


@pytest.mark.parametrize("schema", ["public", "information_schema", "pg_recs", "pg_catalog"])
def test_a_schema_that_can_not_be_the_jobs_own_is_refused(tmp_path: Path, schema: str) -> None:
    text = TOML.replace("[source]", f'schema = "{schema}"\n[source]')
    message = refusal(tmp_path, text)
    assert "job.schema: expected a schema of the job's own" in message
    assert f"Received: '{schema}'" in message


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no settings file .*nothing\.toml"):
        load_settings(tmp_path / "nothing.toml", {})
    with pytest.raises(ConfigError, match="can't be read"):
        load_settings(tmp_path, {})
    assert "can't be read as TOML" in refusal(tmp_path, "[source")
    (tmp_path / "latin.toml").write_bytes(b'# caf\xe9\n[source]\ntable = "t"\n')
    with pytest.raises(ConfigError, match="can't be read as TOML"):
        load_settings(tmp_path / "latin.toml", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give the interactions as table or sql_file"),
        ('table = "a"\nsql_file = "b.sql"', "give only one of table and sql_file"),
        ('table = "a"\n[source.items]\navailable = "a"\navailable_sql = "b"', "available_sql"),
        ('table = "a"\n[source.users]\ntable = "a"\nsql_file = "b"', "table and sql_file"),
        ('table = "a"\nsource_timezone = "Mars"', "there is no time zone 'Mars'"),
    ],
)
def test_a_source_is_one_thing(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(tmp_path, f"[source]\n{text}\n")


@pytest.mark.parametrize(
    ("name", "value", "section", "key", "expected"),
    [
        ("GATE__MIN_USERS", "7", "gate", "min_users", 7),
        ("MODEL__NAME", "ease", "model", "name", "ease"),
        ("MODEL__NAME", '"ease"', "model", "name", "ease"),
        ("EVALUATE__BASELINES", '["popular"]', "evaluate", "baselines", ("popular",)),
        ("SCHEDULE__CATCHUP", "true", "schedule", "catchup", True),
        ("SCHEDULE__START_DATE", "2026-03-01", "schedule", "start_date", "2026-03-01"),
        ("SCHEDULE__CRON", "0 3 * * *", "schedule", "cron", "0 3 * * *"),
        ("VALIDATE__EARLIEST", "2000-01-01", "expectations", "earliest", "2000-01-01"),
        ("JOB__SCHEMA", "recs_eu", "job", "db_schema", "recs_eu"),
        ("FEEDBACK__HALF_LIFE_DAYS", "30.5", "feedback", "half_life_days", 30.5),
        ("FEEDBACK__EVENT_WEIGHTS", "{Buy = 2}", "feedback", "event_weights", {"Buy": 2.0}),
        ("MODEL__PARAMS__EMBEDDING_DIM", "64", "model", "params", {"embedding_dim": 64}),
    ],
)
def test_the_environment_wins(
    tmp_path: Path, name: str, value: str, section: str, key: str, expected: Any
) -> None:
    settings = load(tmp_path, **{f"RECJOBS__{name}": value, "RECJOBS_DSN": "x", "OTHER": "1"})
    assert getattr(getattr(settings, section), key) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("[1, 2]", [1, 2]), ("true", True), ("ease", "ease"), ("2016-10-17", "2016-10-17"),
     ("10:30:00", "10:30:00"), ("2016-10-17T00:00:00Z", "2016-10-17T00:00:00Z"), ("", "")],
)  # fmt: skip
def test_a_value_given_as_text(text: str, value: Any) -> None:
    assert parse_value(text) == value


def test_the_environment_is_checked_too(tmp_path: Path) -> None:
    assert "did you mean 'min_users'?" in refusal(tmp_path, RECJOBS__GATE__MIN_USER="1")
    assert "job.name" in refusal(tmp_path, RECJOBS__JOB__NAME__X="1")
    assert "no such setting" in refusal(tmp_path, RECJOBS__="1")


def test_paths_are_taken_from_the_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "q.sql").write_text("select 1;\n")
    text = '[source]\nsql_file = "q.sql"\n[source.users]\nsql_file = "u.sql"\n'
    monkeypatch.chdir(tmp_path)
    settings = load(Path("jobs"), text)
    folder = tmp_path.resolve() / "jobs"
    assert settings.source.sql_file == str(folder / "q.sql")
    assert settings.source.users.sql_file == str(folder / "u.sql")
    assert settings.artifacts.root == str(folder / ".recjobs/artifacts")
    kept = load(Path("jobs"), text + '[artifacts]\nroot = "s3://bucket/x"\n')
    assert kept.artifacts.root == "s3://bucket/x"
    away = load(Path("jobs"), text + '[artifacts]\nroot = "/srv/x"\n')
    assert away.artifacts.root == "/srv/x"


def test_overrides_are_settings_by_dotted_key(tmp_path: Path) -> None:
    settings = load(tmp_path)
    changed = settings.with_overrides(
        {"model.name": "ease", "model.params.l2": 5.0, "validate.nulls": "off", "job.schema": "x"}
    )
    assert (changed.model.name, changed.model.params) == ("ease", {"l2": 5.0})
    assert (changed.expectations.nulls, changed.job.db_schema) == ("off", "x")
    assert changed.hash() != settings.hash()
    assert settings.model.name == "mf"
    assert settings.with_overrides({}) == settings
    for key, message in {"model.nme": "did you mean 'name'", "job.name.x": "is a value"}.items():
        with pytest.raises(ConfigError, match=message):
            settings.with_overrides({key: "x"})


#: A change of each section, and whether it can change a list or a verdict.
CHANGES = {
    'job.timezone="Europe/Paris"': True,
    "job.seed=1": False,
    "job.training_threads=1": False,
    'job.name="other"': False,
    'job.schema="other"': False,
    'source.table="other"': True,
    'source.users.active="on"': True,
    'source.dsn="postgresql://app@elsewhere/app"': False,
    "feedback.positive_at=4": True,
    "holdout.days=3": True,
    "validate.max_bad_share=0.1": True,
    "model.params.l2=1": True,
    "evaluate.bootstrap=500": True,
    "gate.max_drop=0.1": True,
    "score.n=20": True,
    "score.block_users=7": False,
    "check.max_churn=0.5": True,
    'target.dsn="postgresql://a@b/c"': False,
    "publish.attached=3": False,
    'artifacts.root="/x"': False,
    "lease.ttl_seconds=5": False,
    'schedule.cron="0 0 * * *"': False,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_hash_changes_with_what_can_change_a_list(tmp_path: Path, change: str) -> None:
    key, _, value = change.partition("=")
    env = {f"RECJOBS__{key.replace('.', '__').upper()}": value}
    hashes = {load(tmp_path).hash(), load(tmp_path, **env).hash()}
    assert len(hashes) == 1 + CHANGES[change]


def test_the_hash_is_of_the_sql_and_not_of_its_path(tmp_path: Path) -> None:
    text = '[source]\nsql_file = "q.sql"\n'
    hashes = []
    for folder, query in (("a", "select 1"), ("b", "select 1;\n"), ("c", "select 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "q.sql").write_text(query)
        hashes.append(load(tmp_path / folder, text).hash())
    assert hashes[0] == hashes[1] != hashes[2]
    (tmp_path / "c" / "q.sql").unlink()
    with pytest.raises(ConfigError, match=r"q\.sql can't be read"):
        load(tmp_path / "c", text).hash()


def test_the_hash_is_short_hex(tmp_path: Path) -> None:
    assert len(load(tmp_path).hash()) == 16
    assert int(load(tmp_path).hash(), 16) >= 0


@pytest.mark.parametrize(
    ("connection", "env", "expected"),
    [
        ({"dsn": "postgresql://a@b/c"}, {}, "postgresql://a@b/c"),
        ({"dsn_env": "MINE"}, {"MINE": "host=db"}, "host=db"),
        ({}, {"RECJOBS_DSN": "postgresql://x/y"}, "postgresql://x/y"),
        ({"airflow_conn_id": "pg"}, {"AIRFLOW_CONN_PG": "postgres://x/y"}, "postgresql://x/y"),
        ({"dsn_env": "S"}, {"S": "postgresql+psycopg2://x/y"}, "postgresql://x/y"),
    ],
)
def test_a_dsn_is_found(connection: dict[str, str], env: dict[str, str], expected: str) -> None:
    assert Connection(**connection).resolve(env) == expected


def test_a_dsn_that_is_not_there_says_where_it_should_be() -> None:
    with pytest.raises(ConfigError, match=r"export MINE=postgresql://user@host/db"):
        Connection(dsn_env="MINE").resolve({"MINE": ""})


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.timezones()))
def test_as_of_with_an_offset_is_that_instant(instant: datetime) -> None:
    assert parse_as_of(instant.isoformat(), "Asia/Tokyo") == instant.astimezone(UTC)


@given(st.dates(datetime(1971, 1, 1).date(), datetime(2100, 1, 1).date()))
def test_a_bare_date_is_midnight_in_the_jobs_zone(day: Any) -> None:
    found = parse_as_of(day.isoformat(), "America/New_York")
    assert found.tzinfo is UTC
    local = found.astimezone(ZoneInfo("America/New_York"))
    assert (local.date(), local.hour, local.minute) == (day, 0, 0)


@pytest.mark.parametrize("text", ["", "yesterday", "2016-13-01", "2016-10-17T25:00", "0001-01-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="as_of: expected a date"):
        parse_as_of(text, "Asia/Tokyo")


def test_nights_are_at_midnight_though_a_day_has_none() -> None:
    days = [f"2025-04-{day}" for day in (25, 26, 27, 28)]  # in Cairo the 25th begins at 01:00
    since, *later, until = (parse_as_of(day, "Africa/Cairo") for day in days)
    assert list(nights(since, until, "Africa/Cairo")) == [since, *later]
    afternoon = [parse_as_of(f"{day}T15:00", "Africa/Cairo") for day in days]
    assert list(nights(afternoon[0], afternoon[-1], "Africa/Cairo")) == afternoon[:-1]
