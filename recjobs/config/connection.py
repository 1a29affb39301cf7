"""Where a database is, without a password in the settings file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from recjobs.config.section import Section
from recjobs.errors import ConfigError


class Connection(Section):
    """Where a database is: one of a DSN without a password, a variable, an Airflow connection."""

    dsn: str = ""
    dsn_env: str = Field(default="", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")
    airflow_conn_id: str = Field(default="", pattern=r"^[\w.-]*$")

    @field_validator("dsn")
    @classmethod
    def _no_password(cls, value: str) -> str:
        if value and (urlsplit(value).password or re.search(r"(?i)password\s*=", value)):
            raise ValueError("a DSN in the settings file must hold no password; use dsn_env")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> Connection:
        if sum(map(bool, (self.dsn, self.dsn_env, self.airflow_conn_id))) > 1:
            raise ValueError("give one of dsn, dsn_env and airflow_conn_id")
        return self

    def resolve(self, env: Mapping[str, str] | None = None) -> str:
        """Return the DSN.

        Raises:
            ConfigError: The variable that should hold it is not set.
        """
        env = os.environ if env is None else env
        if self.dsn:
            return self.dsn
        name = f"AIRFLOW_CONN_{self.airflow_conn_id.upper()}" if self.airflow_conn_id else ""
        name = name or self.dsn_env or "RECJOBS_DSN"
        value = env.get(name)
        if not value:
            raise ConfigError(
                f"the database's DSN should be in the environment variable {name}, which is not "
                f"set. Set it (export {name}=postgresql://user@host/db) or name another one with "
                "dsn_env in the settings."
            )
        return _libpq_uri(value)


def _libpq_uri(value: str) -> str:
    """Return a DSN that libpq takes from Airflow's or SQLAlchemy's spelling of one."""
    return re.sub(r"^(postgres|postgresql)(\+\w+)?://", "postgresql://", value)
