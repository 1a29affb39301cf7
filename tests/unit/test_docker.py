"""The image and the services, as far as they can be read without a container engine."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
SECRET = re.compile(r"PASSWORD$|SECRET|_KEY$|DSN|CONN$")
# `${NAME:?hint}`, and the password inside a URL that is made of one
REQUIRED = re.compile(r"\$\{(\w+):\?see example\.env\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return data


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (DOCKER / "Dockerfile").read_text()


def test_airflows_own_services_are_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {
        "postgres", "migrate", "api-server", "scheduler", "dag-processor", "triggerer", "recjobs",
    }  # fmt: skip


def test_no_service_runs_as_root_or_gains_rights(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["user"] in ("10001:10001", "postgres"), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert name == "postgres" or service["cap_drop"] == ["ALL"], name


def test_every_service_that_stays_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        check = service["healthcheck"]
        if name in ("migrate", "recjobs"):  # they end
            assert check == {"disable": True}
            assert service["restart"] == "no"
        else:
            assert check["test"][0] == "CMD"
            assert {"interval", "timeout", "retries", "start_period"} <= set(check)
            assert service["restart"] == "unless-stopped"


def test_services_wait_for_what_they_need(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert services[needed]["restart"] == "no"
    for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
        assert {"postgres", "migrate"} <= set(services[name]["depends_on"])


def test_ports_are_open_on_this_machine_alone(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_secret_is_written_down(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for name, value in service["environment"].items():
            if SECRET.search(name):
                assert REQUIRED.search(value), f"{name} holds no required variable: {value}"
    text = "".join(path.read_text() for path in DOCKER.rglob("*") if path.is_file())
    assert not re.search(r"://\w+:[^$@\s]{3,}@", text.replace(":...@", "@"))


def test_the_example_names_every_required_variable() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    example = (DOCKER / "example.env").read_text()
    assert set(REQUIRED.findall(text)) == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    optional = set(re.findall(r"^#(\w+)=", example, re.MULTILINE))
    assert optional <= set(re.findall(r"\$\{(\w+):-", text))


def test_airflow_knows_every_variable(services: dict[str, dict[str, Any]], dockerfile: str) -> None:
    spec = find_spec("airflow")
    assert spec is not None
    assert spec.origin is not None
    known = yaml.safe_load(
        (Path(spec.origin).parent / "config_templates" / "config.yml").read_text()
    )
    names = {name for service in services.values() for name in service["environment"]}
    names |= set(re.findall(r"(AIRFLOW__\w+)=", dockerfile))
    ours = [name.lower().split("__")[1:] for name in names if name.startswith("AIRFLOW__")]
    assert len(ours) > 8
    for section, option in ours:
        assert option in known[section]["options"], f"[{section}] {option}"


def test_the_image_ends_as_a_plain_user_and_copies_what_exists(dockerfile: str) -> None:
    stages = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)
    assert re.findall(r"^USER (.+)$", stages[-1], re.MULTILINE) == ["10001:10001"]
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for source in (word for word in sources.split() if not word.startswith("--")):
            assert (ROOT / source).exists(), source
            ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
            assert f"!{source}" in ignored
    assert ignored[1] == "*"
    assert not re.search(r"^(ARG|ENV) .*(PASSWORD|SECRET|TOKEN|DSN)", dockerfile, re.MULTILINE)


def test_the_images_python_is_supported(dockerfile: str) -> None:
    (version,) = re.findall(r"^ARG PYTHON=(\d+\.\d+)-slim", dockerfile, re.MULTILINE)
    assert version in ("3.11", "3.12", "3.13")


def entrypoint(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the entrypoint with another folder of secrets, as whoever runs the tests."""
    script = tmp_path / "entrypoint.sh"
    text = (DOCKER / "entrypoint.sh").read_text().replace("/run/secrets/", f"{tmp_path}/")
    script.write_text(text)
    return subprocess.run(
        ["sh", str(script), "env"],
        env={"PATH": os.defpath, **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_secret_in_a_file_becomes_a_variable(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("postgresql://me:it's $HOME@db/shop\n")
    done = entrypoint(
        tmp_path,
        {"RECJOBS_DSN_FILE": f"{tmp_path}/shop", "PASSWORDS_FILE": "/opt/airflow/passwords.json"},
    )
    lines = done.stdout.splitlines()
    assert "RECJOBS_DSN=postgresql://me:it's $HOME@db/shop" in lines
    assert "PASSWORDS_FILE=/opt/airflow/passwords.json" in lines
    assert not any(line.startswith("RECJOBS_DSN_FILE") for line in lines)


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    done = entrypoint(tmp_path, {"RECJOBS_DSN_FILE": f"{tmp_path}/nothing"})
    assert done.returncode == 2
    assert "RECJOBS_DSN_FILE names" in done.stderr
