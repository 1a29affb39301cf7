"""Checks of the target: the right to own the job's schema, migrations, room for artifacts."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import fsspec

from recjobs import db, migrate
from recjobs.config import Settings
from recjobs.doctor.finding import Finding, fail, ok, warn
from recjobs.doctor.servers import Server
from recjobs.source import id_types
from recjobs.source.questions import ask

_LITTLE_BYTES: Final = 2 << 30
#: Next to nothing: hardly a night's files fit.
_TOO_LITTLE_BYTES: Final = 32 << 20


def check_rights(server: Server, settings: Settings) -> Iterator[Finding]:
    """Check whether the role may own the job's schema, and make the job's roles."""
    name, schema = "target.rights", settings.job.db_schema
    _, is_taken = _state(server, schema)
    if is_taken:
        message = f"schema {schema} holds tables that are none of ours"
        yield fail(name, message, "set job.schema to another")
        return
    roles = {
        "writer": settings.publish.writer_role or f"{schema}_writer",
        "reader": settings.publish.reader_role or f"{schema}_reader",
    }
    question = db.query("doctor/rights")
    [row] = ask(server.connection, question, {"schema": schema, **roles})
    owner, may_own, may_create, may_create_roles, n_roles, role, database = row
    if owner and not may_own:
        message = f"schema {schema} belongs to {owner}, and {role} is no member of it"
        yield fail(name, message, f'grant "{owner}" to "{role}"; or set job.schema to another')
    elif not owner and not may_create:
        message = f"{role} may not create schema {schema} in database {database}"
        yield fail(name, message, f'grant create on database "{database}" to "{role}";')
    elif owner:
        yield ok(name, f"{role} may write to schema {schema}")
    else:
        yield ok(name, f"{role} may create schema {schema}")
    if not owner and n_roles < len(roles) and not may_create_roles:
        message = f"{role} may not create the roles {' and '.join(roles.values())}"
        mend = "recjobs migrate --no-roles, or give recjobs migrate --print-sql to a DBA"
        yield warn("target.roles", message, mend)


def check_migrations(server: Server, settings: Settings) -> Iterator[Finding]:
    """Check whether the job's tables are there and up to date."""
    name, schema = "target.migrations", settings.job.db_schema
    has_migrations, is_taken = _state(server, schema)
    if is_taken:
        return  # `check_rights` says so
    applied = []
    if has_migrations:
        applied = ask(server.connection, db.query("migrate/applied", schema=schema))
    checksums = {migration.name: migration.checksum for migration in migrate.files()}
    changed = [row[1] for row in applied if checksums.get(row[1], row[2]) != row[2]]
    unknown = [row[1] for row in applied if row[1] not in checksums]
    pending = checksums.keys() - {row[1] for row in applied}
    if unknown:
        message = f"schema {schema} was migrated by a newer recjobs: {', '.join(unknown)}"
        yield fail(name, message, "upgrade recjobs")
    elif changed:
        message = f"{', '.join(changed)} changed after being applied to schema {schema}"
        yield fail(name, message, "install the recjobs that made the schema, or a newer one")
    elif pending:
        message = (
            f"{len(pending)} of {len(checksums)} migrations are not applied to schema {schema}"
        )
        # Before the first one it is the next step; later it fails the night.
        yield (fail if applied else warn)(name, message, "recjobs migrate")
    else:
        yield ok(name, f"schema {schema} is up to date")
    if applied:
        yield _id_types(settings, [str(t) for t in applied[-1][3:5]])


def check_artifacts(settings: Settings) -> Iterator[Finding]:
    """Check whether artifacts can be written, and whether there is room for them."""
    name, root = "artifacts", settings.artifacts.root
    try:
        files, path = fsspec.core.url_to_fs(root)
    except (ImportError, ValueError) as error:
        mend = "install the fsspec package for it (s3fs, gcsfs, adlfs), or change artifacts.root"
        yield fail(name, f"artifacts.root {root} can't be opened: {error}", mend)
        return
    if "file" not in files.protocol and "local" not in files.protocol:
        files.exists(path)  # raises where the store does not answer
        yield ok(name, f"{root} answers")
        return
    try:
        folder = _nearest(Path(path))
        with tempfile.TemporaryDirectory(dir=folder, prefix=".recjobs-doctor-"):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "make room" if full else "give the job's user the right"
        mend += ", or set artifacts.root to another folder"
        yield fail(name, f"artifacts.root {root} can't be written to: {error}", mend)
        return
    message = f"{free / 2**30:.1f} GB are free at {folder}"
    if free < _LITTLE_BYTES:
        found = fail if free < _TOO_LITTLE_BYTES else warn
        yield found(name, message, "make room, lower artifacts.keep_runs, or move artifacts.root")
    else:
        yield ok(name, message)


def _state(server: Server, schema: str) -> tuple[bool, bool]:
    """Return whether the schema has a table of migrations, and whether it is an application's."""
    rows = ask(server.connection, db.query("migrate/state"), {"schema": schema})
    return (rows[0][1], rows[0][2]) if rows else (False, False)


def _id_types(settings: Settings, published: list[str]) -> Finding:
    name = "target.id_types"
    wanted = list(id_types(settings.source, settings.source.resolve()))
    if published == wanted:
        return ok(name, f"users {wanted[0]}, items {wanted[1]}, as in the source")
    message = f"the published tables hold ids of type {' and '.join(published)} (users, items), "
    message += f"the source has {' and '.join(wanted)}"
    return fail(
        name, message, "cast the ids in an SQL file (source.sql_file), or set job.schema anew"
    )


def _nearest(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
