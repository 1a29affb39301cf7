"""Scoring and loading in shards: the same lists for any number, each alone, all before a flip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import shop as shops
from published import Job
from recjobs import partitions, pipeline, publish, stages
from recjobs.artifacts import RunFolder
from recjobs.cli import main
from recjobs.config import Settings
from recjobs.errors import ConfigError, DatabaseError, GateError, LeaseHeldError
from recjobs.promote import promote
from recjobs.runs import Run, RunStore, run_folder
from recjobs.score import Scorer
from recjobs.shards import Shard
from shop import Shop, night

COLUMNS = "user_id, item_ids, scores, sources, because_item_ids, because_features, reason"


@pytest.fixture
def shop(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return shops.open_shop(database, tmp_path, monkeypatch)


def in_shards(shop: Shop, of: int) -> Settings:
    return shop.settings.with_overrides({"schedule.shards": of})


def until(shop: Shop, settings: Settings, last: str) -> Run:
    """A fresh run of which everything is done up to a stage, and that too."""
    run = pipeline.begin(settings, night(24), fresh=True)
    for stage in pipeline.STAGES[: pipeline.STAGES.index(last) + 1]:
        pipeline.run_stage(settings, run.run_id, stage)
    return run


def written(run: Run, name: str = "lists.parquet") -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in run_folder(run).paths("score", name))


def stored(shop: Shop, run: Run, table: str = "top_n_list", columns: str = COLUMNS) -> Any:
    """A run's rows, as the server writes them."""
    return shop.execute(
        f"select md5(string_agg(r::text, '|' order by user_id)), count(*) from"
        f" (select {columns} from recs.{table} where run_id = {run.run_id}) r"
    )


def commands(shop: Shop, *words: str, shards: int) -> list[subprocess.CompletedProcess[str]]:
    """Run a stage's shards at once, each as a person would, in a process of its own."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "recjobs.cli", "stage", *words, "--config", str(shop.config),
             "--shard", f"{number}/{shards}", "--json"],
            env={**os.environ, "RECJOBS__SCHEDULE__SHARDS": str(shards)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(1, shards + 1)
    ]  # fmt: skip
    ended = []
    for process in started:
        out, err = process.communicate()
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return ended


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1 / 2"])
def test_a_shard_is_one_of_so_many(text: str) -> None:
    assert Shard.parse("4/4") == Shard(4, 4)
    with pytest.raises(ConfigError, match="expected one such as 1/4"):
        Shard.parse(text)


@pytest.mark.parametrize("length", [0, 1, 6, 7, 240, 1_000_003])
@pytest.mark.parametrize("of", [1, 2, 3, 7, 64])
def test_shares_are_equal_and_leave_nothing_out(length: int, of: int) -> None:
    shares = [shard.share(length) for shard in Shard.all(of)]
    assert [share.start for share in shares] == [0, *(share.stop for share in shares[:-1])]
    assert shares[-1].stop == length
    sizes = {share.stop - share.start for share in shares}
    assert max(sizes) - min(sizes) <= 1


def test_lists_do_not_depend_on_the_number_of_shards(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shops.open_shop(database, tmp_path, monkeypatch, model="ials")
    whole = shop.settings.with_overrides({"score.similar_users": 5, "model.params": {"epochs": 2}})
    runs = {}
    for of in (1, 2, 3, 7):
        settings = whole.with_overrides({"schedule.shards": of})
        assert settings.hash() == whole.hash()
        runs[of] = pipeline.run_night(settings, night(24), fresh=True)
        assert runs[of].status == "stored"
    alike = "similar_user_list", "user_id, similar_user_ids, scores"
    one = runs.pop(1)
    assert run_folder(one).parts("score") == ["score"]
    assert stored(shop, one)[0][1] == stored(shop, one, *alike)[0][1] == 240
    for of, run in runs.items():
        assert len(run_folder(run).parts("score")) == of
        for name in ("lists.parquet", "similar_users.parquet"):
            assert written(run, name) == written(one, name)
        for name in ("similar.parquet", "popular.parquet"):
            paths = [run_folder(each).path("score", name) for each in (run, one)]
            assert paths[0].read_bytes() == paths[1].read_bytes()
        assert stored(shop, run) == stored(shop, one)
        assert stored(shop, run, *alike) == stored(shop, one, *alike)
        counts = run_folder(run).manifest("score").summary
        del counts["parts"]
        assert counts == run_folder(one).manifest("score").summary
    # The next night is held against the lists of seven shards.
    churn = []
    for of in (1, 3):
        settings = whole.with_overrides({"schedule.shards": of})
        run = pipeline.run_night(settings, night(25), fresh=True)
        churn.append(run_folder(run).manifest("check").summary["churn"])
        assert run.reference_run_id == runs[7].run_id
    assert churn[0] == pytest.approx(churn[1])
    assert 0 < churn[0] < 1


def test_shards_of_several_processes_at_once_are_the_whole_night(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pipeline.run_night(shop.settings, night(24))
    settings = in_shards(shop, 3)
    run = until(shop, settings, "refit")
    for stage in ("score", "check", "publish"):
        if stage in stages.SHARDED:
            ended = commands(shop, stage, "--run", str(run.run_id), shards=3)
            assert [e.returncode for e in ended] == [0, 0, 0], ended
            said = [json.loads(e.stdout) for e in ended]
            assert [(s["shard"], s["state"]) for s in said] == [
                (f"{number}/3", "done") for number in (1, 2, 3)
            ]  # fmt: skip
            # All is there, and no reader sees any of it.
            assert RunStore.of(settings).live().run_id == one.run_id  # type: ignore[union-attr]
            with monkeypatch.context() as patch:
                patch.setattr(partitions, "copy_in", None)
                patch.setattr("recjobs.score.top_n", None)
                if stage == "score":
                    assert pipeline.run_stage(settings, run.run_id, stage) == "done"
        if stage != "score":
            assert pipeline.run_stage(settings, run.run_id, stage) == "done"
    assert RunStore.of(settings).live().run_id == run.run_id  # type: ignore[union-attr]
    assert written(run) == written(one)
    assert stored(shop, run) == stored(shop, one)
    timings = RunStore.of(settings).get(run.run_id).timings
    assert {f"{stage} {number}/3" for stage in stages.SHARDED for number in (1, 2, 3)} < set(
        timings
    )
    again = commands(shop, "publish", "--run", str(run.run_id), shards=3)
    assert {json.loads(e.stdout)["state"] for e in again} == {"reused"}


KILLED = """
import os, signal, sys
from recjobs import partitions, pipeline, stages
from recjobs.artifacts import RunFolder
from recjobs.config import load_settings
from recjobs.shards import Shard

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

# Everything but the commit is done: of the artifacts, or of the transaction.
RunFolder._commit = die
copy_in = partitions.copy_in
partitions.copy_in = lambda *args: die(copy_in(*args))
_, config, run_id, stage, shard = sys.argv
pipeline.run_stage(load_settings(config), int(run_id), stage, shard=Shard.parse(shard))
"""


@pytest.mark.parametrize("stage", ["score", "publish"])
def test_a_shard_that_was_killed_is_retried_alone(shop: Shop, stage: str) -> None:
    one = pipeline.run_night(shop.settings, night(24))
    settings = in_shards(shop, 3)
    before = pipeline.STAGES[pipeline.STAGES.index(stage) - 1]
    run = until(shop, settings, before)
    store = RunStore.of(settings)

    def run_shard(number: int) -> str:
        return pipeline.run_stage(settings, run.run_id, stage, shard=Shard(number, 3))

    assert [run_shard(1), run_shard(3)] == ["done", "done"]
    marks = _marks(shop, run, stage)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(shop.config), str(run.run_id), stage, "2/3"],
        env={**os.environ, "RECJOBS__SCHEDULE__SHARDS": "3"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert _marks(shop, run, stage) == marks  # nothing that looks finished
    # Its lease need not expire: the process is known to be gone.
    assert [run_shard(number) for number in (1, 2, 3)] == ["reused", "done", "reused"]
    now = _marks(shop, run, stage)
    assert len(now) == 3
    assert marks < now  # the others were not touched
    for name in pipeline.STAGES[pipeline.STAGES.index(stage) :]:
        pipeline.run_stage(settings, run.run_id, name)
    assert store.live().run_id == run.run_id  # type: ignore[union-attr]
    assert stored(shop, run) == stored(shop, one)


def _marks(shop: Shop, run: Run, stage: str) -> set[Any]:
    """What tells each finished shard from one that was done anew."""
    if stage == "publish":
        rows = shop.execute(f"select distinct xmin::text from recs.top_n_load_{run.run_id}")
        return {xmin for (xmin,) in rows}
    root = Path(run_folder(run).url)
    return {(p, p.stat().st_ino) for p in root.glob("score-*-of-3/manifest.json")}


def test_a_shard_replaces_its_own_users_rows_and_no_others(shop: Shop) -> None:
    settings = in_shards(shop, 3)
    run = until(shop, settings, "check")
    for number in (1, 2, 3):
        pipeline.run_stage(settings, run.run_id, "publish", shard=Shard(number, 3))
    table = f"recs.top_n_load_{run.run_id}"
    whole = shop.execute(f"select {COLUMNS}, run_id from {table} order by user_id")
    shop.execute(f"delete from {table} where user_id = 100")
    marked = dict(shop.execute(f"select user_id, xmin::text from {table}"))
    assert pipeline.run_stage(settings, run.run_id, "publish", shard=Shard(2, 3)) == "done"
    assert shop.execute(f"select {COLUMNS}, run_id from {table} order by user_id") == whole
    now = dict(shop.execute(f"select user_id, xmin::text from {table}"))
    assert {user for user, mark in marked.items() if now[user] == mark} == {
        *range(1, 81), *range(161, 241)
    }  # fmt: skip


def test_a_shard_of_another_number_than_the_settings_is_refused(shop: Shop) -> None:
    run = until(shop, in_shards(shop, 3), "refit")
    with pytest.raises(ConfigError, match=r"one of 3, as schedule.shards says. Received: 1/2"):
        pipeline.run_stage(in_shards(shop, 3), run.run_id, "score", shard=Shard(1, 2))
    assert RunStore.of(shop.settings).get(run.run_id).status == "running"


def test_what_no_shard_has_done_the_stage_does(shop: Shop) -> None:
    one = pipeline.run_night(shop.settings, night(24))
    settings = in_shards(shop, 7)
    run = until(shop, settings, "refit")
    for stage in ("score", "check", "publish"):
        if stage in stages.SHARDED:
            pipeline.run_stage(settings, run.run_id, stage, shard=Shard(5, 7))
        assert pipeline.run_stage(settings, run.run_id, stage) == "done"
    assert written(run) == written(one)
    assert stored(shop, run) == stored(shop, one)


def test_lists_scored_in_some_shards_are_loaded_in_others(shop: Shop) -> None:
    """The setting may change between the two: each stage takes what the one before it left."""
    one = pipeline.run_night(shop.settings, night(24))
    run = until(shop, in_shards(shop, 7), "check")
    for number in (1, 2, 3):
        pipeline.run_stage(in_shards(shop, 3), run.run_id, "publish", shard=Shard(number, 3))
    table = f"recs.top_n_load_{run.run_id}"
    assert shop.execute(f"select count(*) from {table}") == [(240,)]
    assert pipeline.run_stage(shop.settings, run.run_id, "publish") == "done"
    assert stored(shop, run) == stored(shop, one)


def test_more_shards_than_users(database: str, tmp_path: Path) -> None:
    job = Job(database, tmp_path, users=3).migrated()
    run = job.open(1)
    folder = job.artifacts(run)
    lists = pq.read_table(folder.path("score", "lists.parquet"))
    cut(folder, 5)
    assert [len(pq.read_table(p)) for p in folder.paths("score", "lists.parquet")] == [
        0,
        1,
        0,
        1,
        1,
    ]
    assert job.publish(run)["rows"] == len(lists) == 3
    assert job.rows("select count(*) from recs.top_n_list") == [(3,)]


def cut(folder: RunFolder, of: int) -> None:
    """Leave the same lists as so many shards would have."""
    whole = {p.name: pq.read_table(p) for p in Path(folder.url, "score").glob("*.parquet")}
    lists = whole.pop("lists.parquet")
    for shard in Shard.all(of):
        with folder.writing(shard.part("score")) as out:
            share = shard.share(len(lists))
            rows = lists[share.start : share.stop]
            with pq.ParquetWriter(out.folder / "lists.parquet", lists.schema) as file:
                if len(rows):
                    file.write_table(rows)
    with folder.writing("score") as out:
        for name, table in whole.items():
            pq.write_table(table, out.folder / name)
        out.summary["parts"] = [shard.part("score") for shard in Shard.all(of)]


@pytest.mark.parametrize("user_type", ["integer", "uuid", "text"])
def test_shards_of_every_type_of_id(database: str, tmp_path: Path, user_type: Any) -> None:
    job = Job(database, tmp_path, user_type=user_type).migrated()
    runs = [job.open(number) for number in (1, 2)]
    for run in runs:
        cut(job.artifacts(run), 4)
    folder = RunFolder(runs[1].artifacts, runs[1].run_id)
    for number in (3, 1, 4, 2, 2):
        publish.load(job.settings(), runs[1], folder, Shard(number, 4))
    for run in runs:
        assert job.publish(run)["live"]
    counts = job.rows(
        "select run_id, count(distinct user_id), count(*) from recs.top_n_list group by 1"
    )
    assert sorted(counts) == [(run.run_id, 18, 18) for run in runs]


def test_nothing_is_flipped_while_a_slice_is_missing(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(database, tmp_path).migrated()
    first = job.night(1)
    run = job.open(2)
    folder = job.artifacts(run)
    cut(folder, 3)
    for number in (1, 3):
        assert publish.load(job.settings(), run, folder, Shard(number, 3))
    with monkeypatch.context() as patch:
        patch.setattr(publish, "load", lambda *_: False)
        with pytest.raises(DatabaseError, match="expected 18 lists in the database, found 12"):
            job.publish(run)
    assert job.live() == first.run_id
    assert job.partitions()["top_n_list"] == [f"top_n_list_{first.run_id}"]
    assert job.publish(run)["live"]  # which loads what is missing
    assert job.rows(f"select count(*) from recs.top_n_list_{run.run_id}") == [(18,)]


def test_a_slice_that_two_loaded_at_once_is_loaded_anew(database: str, tmp_path: Path) -> None:
    """As after a lease that was thought to be lost: the table has no key yet that would object."""
    job = Job(database, tmp_path).migrated()
    run = job.open(1)
    folder = job.artifacts(run)
    cut(folder, 3)
    publish.load(job.settings(), run, folder, Shard(2, 3))
    table = f"recs.top_n_load_{run.run_id}"
    job.rows(f"insert into {table} select * from {table}")
    assert job.publish(run)["live"]
    assert job.rows("select count(*), count(distinct user_id) from recs.top_n_list") == [(18, 18)]


def test_slices_are_loaded_at_once_and_wait_for_no_other(database: str, tmp_path: Path) -> None:
    job = Job(database, tmp_path).migrated()
    run = job.open(1)
    folder = job.artifacts(run)
    cut(folder, 2)
    assert publish.load(job.settings(), run, folder, Shard(1, 2))
    # Another process is in the middle of its slice.
    other = psycopg2.connect(job.dsn)
    with other.cursor() as cursor:
        cursor.execute(f"delete from recs.top_n_load_{run.run_id}")
        assert publish.load(job.settings(), run, folder, Shard(2, 2))
        other.rollback()
    other.close()
    assert job.publish(run)["live"]


def test_another_run_waits_until_every_shard_has_ended(shop: Shop) -> None:
    settings = in_shards(shop, 2)
    run = until(shop, settings, "refit")
    store = RunStore.of(settings)
    with store.lease(run.run_id, "worker-1:10", 600, part="score 1/2"):
        # Beside the other shard: this one is scored; whatever is more has to wait.
        assert pipeline.run_stage(settings, run.run_id, "score", shard=Shard(2, 2)) == "done"
        for shard in (Shard(1, 2), None):
            with pytest.raises(LeaseHeldError, match=f"run {run.run_id} is at work"):
                pipeline.run_stage(settings, run.run_id, "score", shard=shard)
        with pytest.raises(LeaseHeldError, match=f"run {run.run_id} is at work"):
            pipeline.begin(settings, night(25))
    with pytest.raises(LeaseHeldError, match=f"run {run.run_id} is between two stages"):
        pipeline.begin(settings, night(25))
    pipeline.run_stages(settings, run.run_id)
    assert pipeline.begin(settings, night(25)).run_id > run.run_id


def test_a_shard_that_lost_its_lease_commits_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = in_shards(shop, 2)
    run = until(shop, settings, "refit")
    lists, shard = Scorer.lists, Shard(1, 2)

    def cut_off(*args: Any) -> None:
        lists(*args)
        shop.execute("update recs.lease set holder = 'elsewhere:1'")

    monkeypatch.setattr(Scorer, "lists", cut_off)
    with pytest.raises(LeaseHeldError, match="another process took it"):
        pipeline.run_stage(settings, run.run_id, "score", shard=shard)
    assert not run_folder(run).finished(shard.part("score"))
    assert f"score {shard}" not in RunStore.of(settings).get(run.run_id).timings


def test_a_shards_failure_is_told_until_its_stage_begins(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = in_shards(shop, 2)
    run = until(shop, settings, "refit")
    store = RunStore.of(settings)
    work = stages.SHARDED["score"]

    def full(night: Any, shard: Shard, progress: Any) -> bool:
        if shard.number == 1:
            raise OSError("no space left")
        return work(night, shard, progress)

    with monkeypatch.context() as patch:
        patch.setitem(stages.SHARDED, "score", full)
        with pytest.raises(OSError, match="no space left"):
            pipeline.run_stage(settings, run.run_id, "score", shard=Shard(1, 2))
        pipeline.run_stage(settings, run.run_id, "score", shard=Shard(2, 2))
    failed = store.get(run.run_id)
    assert (failed.status, failed.stage) == ("failed", "score")
    assert failed.error == "OSError: shard 1/2: no space left"
    pipeline.run_stages(settings, run.run_id)
    assert store.get(run.run_id).status == "stored"


def test_stages_that_have_no_shards_say_so(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    run = pipeline.begin(shop.settings, night(24))
    words = ["stage", "--config", str(shop.config), "--run", str(run.run_id)]
    assert main([*words, "train", "--shard", "1/2"]) == 2
    assert "a stage that has shards, score or publish. Received: 'train'" in capsys.readouterr().err
    assert main([*words, "score", "--shard", "3/2"]) == 2
    assert "expected one such as 1/4 or 4/4. Received: '3/2'" in capsys.readouterr().err
    assert main([*words, "score", "--shard", "1/1"]) == 2  # nothing before it has run
    assert "stage extract has not finished" in capsys.readouterr().err
    assert main([*words, "score", "--shard", "1/2"]) == 2
    assert "expected one of 1, as schedule.shards says. Received: 1/2" in capsys.readouterr().err


def test_a_promoted_dry_run_gets_the_models_lists_though_popularitys_were_scored(
    shop: Shop,
) -> None:
    settings = shop.settings.with_overrides(
        {"schedule.shards": 2, "gate.min_lift_over_popular": 50.0, "gate.min_users": 1}
    )
    run = pipeline.begin(settings, night(24), dry_run=True)
    pipeline.run_stages(settings, run.run_id)
    run = RunStore.of(settings).get(run.run_id)
    assert (run.status, run.decision, run.published_source) == ("dry_run", "hold", "popular")
    run = promote(settings, run.run_id, why="a drill", by="me")
    assert (run.status, run.published_source) == ("stored", "model")
    assert run_folder(run).manifest("score").summary["by_source"].keys() == {run.model}
    first = "select distinct sources[1] from recs.top_n_list"
    assert shop.execute(first) == [(run.model,)]


def test_a_promoted_run_takes_no_shard_of_popularitys_lists(shop: Shop) -> None:
    settings = shop.settings.with_overrides(
        {"schedule.shards": 2, "gate.min_lift_over_popular": 50.0, "gate.min_users": 1}
    )
    run = pipeline.begin(settings, night(24))
    for stage in pipeline.STAGES[: pipeline.STAGES.index("score")]:
        pipeline.run_stage(settings, run.run_id, stage)
    pipeline.run_stage(settings, run.run_id, "score", shard=Shard(1, 2))
    RunStore.of(settings).release(run.run_id)
    pipeline.run_night(shop.settings, night(23))  # goes live before the other one goes on
    with pytest.raises(GateError, match="nothing changed"):
        pipeline.run_night(settings, night(24))
    run = promote(settings, run.run_id, why="a drill", by="me")
    assert run_folder(run).manifest("score").summary["by_source"].keys() == {run.model}
