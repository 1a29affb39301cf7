"""Why settings are refused, in words for who wrote them."""

from __future__ import annotations

import difflib
import re
from typing import Any, Final

from pydantic import BaseModel

#: Keys and sections that are, or are taken for, a DSN: what was given instead is not repeated.
_HIDDEN: Final = {"dsn", "dsn_env", "airflow_conn_id", "source", "target"}
#: What of another value may be a password.
_PASSWORD: Final = re.compile(r"(?i)(//).*(?=@)|(password\s*=).*")


def explain(error: Any, settings: type[BaseModel]) -> str:
    """Return one pydantic error as "section.key: what is wrong", without dumping the settings."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        received = error.get("input")
        hidden = isinstance(received, dict) or not _HIDDEN.isdisjoint(error["loc"][-1:])
        shown = "" if hidden else " Received: " + _PASSWORD.sub(r"\1\2…", repr(received))
        return f"{where or 'settings'}: {error['msg'].removeprefix('Value error, ')}.{shown}"
    *sections, key = (str(part) for part in error["loc"])
    known = _known_keys(settings, sections)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
    return f"{where}: there is no such setting; {hint}"


def _known_keys(section: type[BaseModel], sections: list[str]) -> list[str]:
    for name in sections:
        fields = {f.alias or n: f.annotation for n, f in section.model_fields.items()}
        annotation = fields.get(name)
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return [f.alias or n for n, f in section.model_fields.items()]
