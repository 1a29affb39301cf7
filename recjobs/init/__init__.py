"""Propose a settings file from a look at a database.

words     what names say
look      the tables, with the keys that tie them together
choose    which holds the interactions, which the items, which the users
describe  what of their columns says something of an item or a user
measure   what the data says: scales, event types, the fitting holdout
proposal  all of it together
write     as commented TOML
"""

from __future__ import annotations

from recjobs import db
from recjobs.init import proposal, write

__all__ = ["propose"]


def propose(dsn: str, *, dsn_env: str = "RECJOBS_DSN", schema: str | None = None) -> str:
    """Return a commented settings file for the interactions that the database holds.

    Args:
        dsn: The database to look at. It is not written down, for it may hold a password.
        dsn_env: The environment variable that the settings name instead.
        schema: Look at this schema alone.

    Raises:
        DataError: No table could hold interactions; names each and what it lacks.
        ConfigError: The DSN can't be read, or there is no such schema.
        DatabaseError: The server can't be reached or failed.
    """
    with db.connect(dsn, autocommit=True) as connection:
        found = proposal.make(connection, schema)
    return write.toml(found, dsn_env)
