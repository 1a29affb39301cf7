"""A job with tables and no model: nights whose lists are made up, for tests of what comes after."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq

from recjobs import live, migrate, pointer, publish
from recjobs.artifacts import RunFolder
from recjobs.columns import IdType
from recjobs.config import Settings
from recjobs.config.connection import Connection
from recjobs.index import Index, arrow_type
from recjobs.migrate import Target
from recjobs.runs import Run, RunKey, RunStore

N, MARGIN = 3, 2
HOLDER = "test:0"

MakeId = Callable[[int], Any]
#: What makes a number an id of each type; text holds what an encoder may stumble over.
IDS: dict[IdType, MakeId] = {
    "bigint": lambda i: i + 2**40,
    "integer": lambda i: i - 5,
    "uuid": lambda i: str(uuid.UUID(int=i * 2**96 + i)),
    "text": lambda i: ["", "é", 'it\'s "quoted"\\N\t\n', "漢字-", "🎬"][i % 5] + f"{i}",
}


def day(number: int) -> datetime:
    """Return the as_of of a numbered night."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


@dataclass(frozen=True)
class Job:
    """A job's tables in one database, and its artifacts in one folder."""

    dsn: str
    folder: Path
    schema: str = "recs"
    user_type: IdType = "bigint"
    item_type: IdType = "bigint"
    users: int = 20

    def migrated(self, **roles: str) -> Job:
        """Make the tables."""
        migrate.apply(self.dsn, Target(self.schema, self.user_type, self.item_type, **roles))
        return self

    @property
    def store(self) -> RunStore:
        """The job's runs."""
        return RunStore(self.dsn, self.schema)

    def settings(self, **sections: dict[str, Any]) -> Settings:
        """Return settings that have what publishing needs."""
        settings = Settings.model_validate(
            {
                "job": {"name": "test", "schema": self.schema},
                "source": {"table": "none"},
                "score": {"n": N, "margin": MARGIN},
                **sections,
            }
        )
        # Not validated: a file of settings may hold no password, and this one is none.
        return settings.model_copy(update={"target": Connection.model_construct(dsn=self.dsn)})

    @property
    def where(self) -> pointer.Job:
        """What going live and the way back ask for."""
        return pointer.Job.of(self.settings())

    def open(self, number: int, **changes: Any) -> Run:
        """Open the run of a numbered night."""
        key = RunKey(day(number), "hash", "code", 42, 1)
        values = {
            "job": "test", "model": "mf", "overrides": {}, "dry_run": False, "fresh": False,
            "request": None, "host": "test", "artifacts": str(self.folder), **changes,
        }  # fmt: skip
        return self.store.open(key, **values)

    def item(self, run: Run, place: int) -> Any:
        """Return the item at a place of every list of a run: another one for each run."""
        return IDS[self.item_type](run.run_id * 100 + place)

    def user(self, number: int) -> Any:
        """Return the id of a numbered user; every tenth has no list."""
        return IDS[self.user_type](number)

    def artifacts(self, run: Run, *, short: Sequence[int] = ()) -> RunFolder:
        """Leave what extract, index and score would have left: ``short`` users get one item."""
        folder = RunFolder(run.artifacts, run.run_id)
        users = Index.of(
            self.user_type, pa.array(map(self.user, range(self.users)), arrow_type(self.user_type))
        )
        places = [self.item(run, place) for place in range(N + MARGIN)]
        extra = [self.item(run, 90 + place) for place in range(N + MARGIN)]
        items = Index.of(self.item_type, pa.array(places + extra, arrow_type(self.item_type)))
        served = [self.user(number) for number in range(self.users) if number % 10 != 9]
        eligible = np.isin(np.array(users.ids.to_pylist(), dtype=object), served)

        with folder.writing("extract") as out:
            inactive = pa.array([self.user(9)], users.ids.type)
            self._write(out.folder / "users.parquet", user_id=inactive, active=pa.array([False]))
            known = pa.array(places[:2], items.ids.type)
            titles = pa.array([f"first of {run.run_id}", None])
            available = pa.array([False, None])
            self._write(
                out.folder / "items.parquet", item_id=known, title=titles, available=available
            )
        with folder.writing("index") as out:
            users.save(out.folder / "users.parquet")
            items.save(out.folder / "items.parquet")
            offered = np.ones(len(items), dtype=np.bool_)
            offered[items.encode(known)[:1]] = False
            np.savez(out.folder / "log.npz", eligible=eligible, available=offered)
        few = {self.user(number) for number in short}
        with folder.writing("score") as out:
            self._scores(out.folder, users.ids.filter(pa.array(eligible)), places, extra, few)
        return folder

    def _scores(
        self, folder: Path, users: pa.Array, places: list[Any], extra: list[Any], few: set[Any]
    ) -> None:
        item_type = arrow_type(self.item_type)
        lists = pa.list_(item_type)
        lengths = [1 if user in few else N + MARGIN for user in users.to_pylist()]
        self._write(
            folder / "lists.parquet",
            user_id=users,
            item_ids=pa.array([places[:k] for k in lengths], lists),
            scores=pa.array([[1.0 / (1 + i) for i in range(k)] for k in lengths], _SCORES),
            sources=pa.array([(["mf", "popular"] * N)[:k] for k in lengths]),
            because_item_ids=pa.array(
                [[extra[0], None, extra[1], None, None][:k] for k in lengths], lists
            ),
            because_features=pa.array(
                [["kind=Crime, moon", None, "moon", None, None][:k] for k in lengths]
            ),
            reason=pa.array(["too few candidates" if k < N else None for k in lengths]),
        )
        self._write(
            folder / "similar.parquet",
            item_id=pa.array(places, item_type),
            similar_item_ids=pa.array([places[:k] for k in range(len(places))], lists),
            scores=pa.array([[0.5] * k for k in range(len(places))], _SCORES),
        )
        self._write(
            folder / "popular.parquet",
            segment=pa.array(["all"]),
            item_ids=pa.array([extra], lists),
            scores=pa.array([[0.1] * len(extra)], _SCORES),
        )

    def publish(self, run: Run, **sections: dict[str, Any]) -> dict[str, Any]:
        """Publish a run under the lease, as the pipeline does, and return the summary."""
        folder = RunFolder(run.artifacts, run.run_id)
        if not folder.finished("score"):
            folder = self.artifacts(run)
        with self.store.lease(run.run_id, HOLDER, 600):
            summary = publish.publish(self.settings(**sections), run, folder)
        self.store.update(run.run_id, status="stored")
        self.store.release(run.run_id)
        return summary

    def night(self, number: int, **changes: Any) -> Run:
        """Open and publish the run of a numbered night."""
        run = self.open(number, **changes)
        self.publish(run)
        return self.store.get(run.run_id)

    def rows(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of one statement on a connection of its own."""
        with psycopg2.connect(self.dsn) as connection, connection.cursor() as cursor:
            cursor.execute(text, values or None)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def live(self) -> int | None:
        """Return the live run."""
        rows = self.rows(f"select run_id from {self.schema}.live")
        return rows[0][0] if rows else None

    def rollback(self, *, pin: bool = False, why: str = "") -> int:
        """Roll back."""
        return live.rollback(self.where, pin=pin, by="ann", why=why)

    def promote(self, run: Run, why: str = "looks good") -> None:
        """Promote a run by name."""
        live.promote(self.where, run.run_id, by="ann", why=why)

    def partitions(self) -> dict[str, list[str]]:
        """Return the names of the attached tables by parent; "" for tables outside."""
        rows = self.rows(
            "select coalesce(i.inhparent::regclass::text, ''), c.relname from pg_class c"
            " left join pg_inherits i on i.inhrelid = c.oid"
            " where c.relnamespace = %s::regnamespace and c.relkind = 'r'"
            " and c.relname ~ '_[0-9]+$' order by c.relname",
            self.schema,
        )
        found: dict[str, list[str]] = {}
        for parent, name in rows:
            found.setdefault(parent.rpartition(".")[2], []).append(name)
        return found

    def of_types(self, user_type: IdType, item_type: IdType) -> Job:
        """Return the same job with ids of other types."""
        return replace(self, user_type=user_type, item_type=item_type)

    @staticmethod
    def _write(path: Path, **columns: pa.Array) -> None:
        pq.write_table(pa.table(columns), path)


_SCORES = pa.list_(pa.float32())
