"""How `db.connect` connects."""

from __future__ import annotations

import pytest
from psycopg2.extensions import parse_dsn

from recjobs import db
from recjobs.errors import ConfigError
from servers import uri


@pytest.mark.parametrize(("given", "expected"), [({}, "10"), ({"connect_timeout": "7"}, "7")])
def test_the_dsn_may_say_how_long_a_server_is_waited_for(
    database: str, given: dict[str, str], expected: str
) -> None:
    parts = parse_dsn(database)
    del parts["connect_timeout"]  # the tests' own
    with db.connect(uri({**parts, **given})) as connection:
        assert connection.info.dsn_parameters["connect_timeout"] == expected


@pytest.mark.parametrize("password", ["s3cret/xyz", "99999999/xyz", "s3,cret/xyz"])
def test_a_dsn_that_can_not_be_read_shows_nothing_of_itself(password: str) -> None:
    dsn = f"postgresql://u:{password}@h/db"
    with pytest.raises(ConfigError, match="the DSN can't be read") as raised, db.connect(dsn):
        pass
    assert password.partition("/")[0] not in str(raised.value)
    assert raised.value.__cause__ is None
