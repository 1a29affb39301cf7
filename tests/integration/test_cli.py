"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import shop as shops
from recjobs import commands, pipeline, stages
from recjobs.cli import main
from shop import Shop, night

COMMANDS = (
    "init", "doctor", "migrate", "run", "backfill", "stage", "status", "rollback", "promote",
    "show", "parts", "tune", "bench", "demo",
)  # fmt: skip


@pytest.fixture
def shop(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = shops.open_shop(database, tmp_path, monkeypatch)
    monkeypatch.setenv("RECJOBS_CONFIG", str(shop.config))
    return shop


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, object]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"  recjobs {command}" in capsys.readouterr().out


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; from recjobs.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "slow = {'numpy', 'pyarrow', 'pandas', 'tensorflow', 'keras', 'rich', 'psycopg2'}\n"
        "sys.exit(', '.join(sorted(slow & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_night_its_status_and_a_users_list(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    code, run = answer(capsys, "run", "--as-of", "2026-01-25")
    assert code == 0
    assert (run["status"], run["failure"]) == ("stored", None)
    assert Path(run["report"]).is_file()

    code, status = answer(capsys, "status")
    assert code == 0
    assert status["live"]["run_id"] == run["run_id"]

    code, user = answer(capsys, "show", "1")
    assert code == 0
    assert len(user["items"]) == 10
    assert len(answer(capsys, "show", "1", "-n", "11")[1]["items"]) == 11  # with a spare

    assert main(["status"]) == main(["show", "1"]) == main(["show", "987654"]) == 0
    printed = capsys.readouterr().out
    assert "live" in printed
    assert "Thing <" in printed


def test_a_backfill_runs_each_day_and_a_rollback_takes_one_back(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    code, runs = answer(capsys, "backfill", "--since", "2026-01-24", "--until", "2026-01-26")
    assert code == 0
    assert [run["status"] for run in runs] == ["stored", "stored"]
    code, back = answer(capsys, "rollback", "--why", "a drill")
    assert (code, back["live"]["run_id"]) == (0, runs[0]["run_id"])
    code, promoted = answer(capsys, "promote", str(runs[1]["run_id"]), "--why", "it was right")
    assert (code, promoted["run_id"]) == (0, runs[1]["run_id"])


def test_the_why_of_a_run_that_was_promoted_is_its_gates(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "--as-of", "2026-01-25", "--set", "score.margin=7")
    code, run = answer(capsys, *words)
    assert (code, run["ever_live"]) == (0, False)
    assert main(["status"]) == 0
    assert "it ran with set" in capsys.readouterr().out
    assert main(["promote", str(run["run_id"]), "--why", "as wished"]) == 0
    assert main(["status"]) == 0
    printed = capsys.readouterr().out
    assert "● live" in printed
    assert "it ran with" not in printed
    assert main(["run", "--as-of", "2026-01-26"]) == main(list(words)) == 0
    assert "It is stored, not live: it was live before" in capsys.readouterr().out


def test_a_run_that_nobody_is_at_work_on_has_stopped(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    run = pipeline.begin(shop.settings, night(24))
    shop.execute("delete from recs.lease")
    assert main(["status"]) == 0
    assert "running " in capsys.readouterr().out  # it waits for its turn
    pipeline.run_stage(shop.settings, run.run_id, "extract")
    assert main(["status"]) == 0
    assert "running in extract" in capsys.readouterr().out
    shop.execute("delete from recs.lease")
    assert main(["status"]) == 0
    assert "stopped in extract" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dsn", "statement", "code", "name"),
    [
        (None, "drop table app.clicks", 2, "ConfigError"),
        ("postgresql://nobody@127.0.0.1:1/nowhere", "select 1", 5, "DatabaseError"),
    ],
)
def test_a_failed_night_names_its_run_and_its_page(
    shop: Shop,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dsn: str | None,
    statement: str,
    code: int,
    name: str,
) -> None:
    shop.execute(statement)
    monkeypatch.setenv("SHOP_SOURCE_DSN", dsn or shop.source)
    assert main(["run", "--as-of", "2026-01-25"]) == code
    said = capsys.readouterr()
    assert "Run 1, as of 2026-01-25 00:00 UTC: failed." in said.out
    assert Path(said.out.split("Report: ")[1].strip()).is_file()
    assert f"{name}: " in said.err
    given, run = answer(capsys, "run", "--as-of", "2026-01-25")
    assert (given, run["run_id"], run["status"]) == (code, 1, "failed")
    assert Path(run["report"]).is_file()
    assert run["failure"].startswith(f"{name}: ")


def test_a_defect_ends_in_its_traceback_after_the_run_and_its_page(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of course")

    monkeypatch.setitem(stages.WORK, "index", broken)
    with pytest.raises(ZeroDivisionError):
        main(["run", "--as-of", "2026-01-25"])
    printed = capsys.readouterr().out
    assert "Run 1, as of 2026-01-25 00:00 UTC: failed." in printed
    assert "Report: " in printed
    with pytest.raises(ZeroDivisionError):
        main(["run", "--as-of", "2026-01-25", "--json"])
    run = json.loads(capsys.readouterr().out)
    assert (run["run_id"], run["failure"]) == (1, "ZeroDivisionError: of course")


def test_nights_that_keep_days_of_the_source(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECJOBS__SOURCE__FULL_EVERY", "5")
    whole = answer(capsys, "run", "--as-of", "2026-01-24")[1]
    rest = answer(capsys, "run", "--as-of", "2026-01-25")[1]
    fresh = answer(capsys, "run", "--as-of", "2026-01-25", "--fresh")[1]
    assert fresh["snapshot_digest"] == rest["snapshot_digest"]
    for run, text in (
        (whole, "read in full, nothing is kept yet"),
        (rest, "20 days from 2026-01-01 to 2026-01-20 as earlier nights had read them, the rest"),
        (fresh, "read in full, the run is a fresh one"),
    ):
        assert text in Path(run["report"]).read_text()

    code, kept = answer(capsys, "parts")
    assert (code, kept["days"], kept["until"], kept["erased"]) == (0, 21, "2026-01-22", None)
    [(user, rows)] = shop.execute(
        "select user_id, count(*) from app.clicks where clicked_at < '2026-01-22'"
        " group by 1 order by 2 desc, 1 limit 1"
    )
    assert main(["parts", "--erase", str(user)]) == 0
    said = capsys.readouterr().out
    assert f"removed {rows:,} interactions" in said
    assert "Not touched: the source, the files of runs" in said
    assert main(["parts", "--drop"]) == 0
    assert capsys.readouterr().out == "No day is kept.\n"


def test_one_stage_alone(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    code, run = answer(capsys, "run", "--as-of", "2026-01-25", "--dry-run")
    assert (code, run["status"]) == (0, "dry_run")
    code, stage = answer(capsys, "stage", "score", "--run", str(run["run_id"]))
    assert (code, stage["state"]) == (0, "reused")


def test_exit_codes_follow_the_error_tree(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", "--as-of", "tomorrow"]) == 2
    assert "Received: 'tomorrow'" in capsys.readouterr().err
    assert main(["run", "--set", "model.nam=ease"]) == 2
    assert "did you mean 'name'?" in capsys.readouterr().err
    assert main(["run", "--set", "model.name=easse"]) == 2
    assert "did you mean 'ease'?" in capsys.readouterr().err
    assert main(["show", "not-a-number"]) == 3
    assert main(["stage", "score", "--run", "12345"]) == 2

    code, failure = answer(capsys, "run", "--as-of", "2025-12-01")  # before the shop opened
    assert code == 3, failure

    monkeypatch.setenv("SHOP_TARGET_DSN", "postgresql://nobody@127.0.0.1:1/nowhere")
    assert main(["status"]) == 5
    monkeypatch.delenv("SHOP_TARGET_DSN")
    assert main(["status"]) == 2
    assert "SHOP_TARGET_DSN" in capsys.readouterr().err


def test_an_interrupted_command_says_what_resumes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run", interrupted)
    assert main(["run"]) == 130
    assert capsys.readouterr().err == "stopped; the same command resumes\n"
    assert main(["run", "--fresh"]) == 130  # which would begin anew
    assert capsys.readouterr().err == "stopped; the same command without --fresh resumes\n"


def test_wrong_arguments_exit_as_wrong_settings_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--as-off", "2026-01-25"])
    assert ended.value.code == 2


def test_migrate_twice_and_as_sql(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["migrate"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    monkeypatch.setenv("RECJOBS__JOB__SCHEMA", "another")
    assert main(["migrate", "--print-sql"]) == 0
    assert "create table" in capsys.readouterr().out.lower()


def test_init_and_doctor_on_an_unknown_database(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposed = tmp_path / "proposed.toml"
    words = ["--dsn-env", "SHOP_SOURCE_DSN", "--schema", "app", "--output", str(proposed)]
    assert main(["init", *words]) == 0
    assert main(["init", *words]) == 2  # an existing file is not lost
    assert "app.clicks" in proposed.read_text()
    assert main(["doctor", "--config", str(proposed)]) == 0
