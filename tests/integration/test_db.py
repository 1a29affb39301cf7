"""How `db.connect` connects."""

from __future__ import annotations

import pytest
from psycopg2.extensions import parse_dsn

from recjobs import db
from servers import uri


@pytest.mark.parametrize(("given", "expected"), [({}, "10"), ({"connect_timeout": "7"}, "7")])
def test_the_dsn_may_say_how_long_a_server_is_waited_for(
    database: str, given: dict[str, str], expected: str
) -> None:
    parts = parse_dsn(database)
    del parts["connect_timeout"]  # the tests' own
    with db.connect(uri({**parts, **given})) as connection:
        assert connection.info.dsn_parameters["connect_timeout"] == expected
