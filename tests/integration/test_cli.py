"""The commands as an operator of the hub types them: real processes over a data folder of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOCATION = {
    "country_code": "DE", "party_id": "ABC", "id": "1", "publish": True, "name": "Hafen", "address": "Kai 1",
    "city": "Hamburg", "country": "DEU", "coordinates": {"latitude": "53.5", "longitude": "10.0"},
    "time_zone": "Europe/Berlin", "last_updated": "2026-01-01T00:00:00Z",
    "evses": [{
        "uid": "1", "status": "AVAILABLE", "last_updated": "2026-01-01T00:00:00Z",
        "connectors": [{
            "id": "1", "standard": "IEC_62196_T2", "format": "SOCKET", "power_type": "AC_3_PHASE",
            "max_voltage": 230, "max_amperage": 32, "max_electric_power": 22080, "last_updated": "2026-01-01T00:00:00Z",
        }],
    }],
}  # fmt: skip
PROFILE = """
kind = "ocpi"
title = "Harbour"
party = "DEABC"
url = "file:{file}"
"""


class Shell:
    """Runs commands over one data folder, with one feed named ``harbour``."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        self.file = folder / "locations.json"
        self.say([LOCATION, {"id": ""}, "nonsense"])
        (folder / "profiles").mkdir()
        (folder / "profiles" / "harbour.toml").write_text(PROFILE.format(file=self.file))
        self.environment = {
            **os.environ,
            "CHARGEGRAPH_DATA_DIR": str(folder / "data"),
            "CHARGEGRAPH_PROFILES_DIR": str(folder / "profiles"),
            "CHARGEGRAPH_PORT": "0",
            "CHARGEGRAPH_DRAIN_S": "0",
        }

    def say(self, locations: list[object]) -> None:
        self.file.write_text(json.dumps(locations))

    def __call__(self, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        finished = subprocess.run(
            [sys.executable, "-m", "app", *words],
            cwd=self.repository,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert finished.returncode == code, finished.stderr
        assert "Traceback" not in finished.stderr
        return finished

    def serve(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            cwd=self.repository,
            env={**self.environment, "CHARGEGRAPH_FEEDS": "harbour"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def shell(repository: Path, tmp_path: Path) -> Shell:
    return Shell(repository, tmp_path)


def test_index_reports_in_json_in_plain_lines_and_changes_nothing_twice(shell: Shell) -> None:
    (report,) = json.loads(shell("index", "harbour", "--json").stdout)
    assert (report["feed"], report["kind"], report["received"], report["indexed"]) == ("harbour", "FULL", 3, 1)
    assert (report["changed"], report["statuses"], report["error"]) == (1, 1, None)
    assert sum(report["rejected"].values()) == 2
    again = shell("index", CHARGEGRAPH_FEEDS="harbour")
    assert "1 indexed, 0 changed, 0 removed" in again.stdout
    assert "harbour: 3 of " in again.stderr
    records = [json.loads(line) for line in shell("rejections", "harbour").stdout.splitlines()]
    assert len(records) == 2
    assert all(record["reason"] and record["detail"] for record in records)


def test_a_feed_that_fails_says_why_and_keeps_what_was_there(shell: Shell) -> None:
    shell("index", "harbour")
    shell.file.write_text("<html>")
    failed = shell("index", "harbour", code=1)
    assert "FAILED: " in failed.stdout
    shell.say([LOCATION])
    assert "1 indexed, 0 changed" in shell("index", "harbour").stdout


def test_what_vanished_goes_by_hand_only(shell: Shell) -> None:
    shell.say([{**LOCATION, "id": str(number)} for number in range(20)])
    shell("index", "harbour")
    shell.say([LOCATION])
    assert "INCOMPLETE: " in shell("index", "harbour").stdout
    assert "19 removed" in shell("index", "harbour", "--accept-shrink").stdout


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (("index",), {}, "CHARGEGRAPH_FEEDS"),
        (("index", "nobody"), {}, "there is no feed profile 'nobody'"),
        (("index", "teld"), {}, "TELD_URL"),
        (("serve",), {"CHARGEGRAPH_PROT": "1"}, "CHARGEGRAPH_PROT is not a setting"),
        (("serve",), {"CHARGEGRAPH_PORT": "many"}, "CHARGEGRAPH_PORT"),
        (("rejections", "harbour"), {}, "no FULL run yet"),
        (("keys", "revoke", "nothing"), {}, "nothing"),
        (("keys", "create", "no spaces please"), {}, "partner_id"),
        (("agreements", "embargo", "habour", "nav"), {}, "the feeds are"),
        (("agreements", "embargo", "harbour", "no spaces please"), {}, "partner_id"),
        (("agreements", "create", "harbour", "nav", "--grant", "price"), {}, "discover is missing"),
        (("agreements", "embargo", "harbour", "nav", "--until", "2020-01-01"), {}, "expires_at"),
        (("agreements", "end", "nothing"), {}, "no agreement 'nothing'"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    shell: Shell, words: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    finished = shell(*words, code=2, **environment)
    assert told in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert finished.stderr.startswith("chargegraph: ")


def test_keys_are_shown_once_listed_without_their_secret_and_revoked(shell: Shell) -> None:
    told, text = shell("keys", "create", "car-maker", "--scope", "discover", "--scope", "reserve").stdout.splitlines()
    key_id = told.split()[1]
    assert key_id in text
    listed = shell("keys", "list").stdout
    assert "car-maker  NAVIGATION  discover,reserve" in listed
    assert text not in listed
    shell("keys", "revoke", key_id)
    assert "revoked" in shell("keys", "list").stdout
    shell("keys", "revoke", key_id, code=2)


def test_trusted_documents_are_checked_and_counted(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    for place in ("enforce/car-maker", "log/nobody"):
        (folder / place).mkdir(parents=True)
        (folder / place / "app.json").write_text('{"a": "{ operators { id } }", "b": "{ feeds { id } }"}')
    shell("keys", "create", "car-maker")
    first, second = shell("documents", CHARGEGRAPH_DOCUMENTS_DIR=str(folder)).stdout.splitlines()
    assert first == "car-maker  enforce  2 documents"
    assert second.startswith("nobody  log  2 documents  (no partner has this name")
    (folder / "log/nobody/more.json").write_text('{"c": "{ operators { colour } }"}')
    for command in ("documents", "serve"):
        refused = shell(command, code=2, CHARGEGRAPH_DOCUMENTS_DIR=str(folder))
        assert "more.json: c: Cannot query field 'colour'" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert "CHARGEGRAPH_DOCUMENTS_DIR" in shell("documents", code=2).stderr


def test_agreements_are_made_listed_and_ended(shell: Shell) -> None:
    shell("keys", "create", "nav")
    made = shell(
        "agreements", "create", "harbour", "nav", "--grant", "status", "--grant", "discover", "--until", "2999-12-31"
    )
    assert "  harbour  nav  discover,status  made " in made.stdout
    assert made.stdout.endswith("until 2999-12-31 00:00Z\n")
    assert made.stderr == ""
    embargo = shell("agreements", "embargo", "harbour:DEABC", "nobody", "--from", "2027-01-01T06:30Z")
    assert "  harbour:DEABC  nobody  EMBARGO  made " in embargo.stdout
    assert embargo.stdout.endswith("from 2027-01-01 06:30Z\n")
    assert "nobody has no key yet" in embargo.stderr
    for_all = shell("agreements", "create", "harbour", "*", "--grant", "discover")
    assert for_all.stderr == ""
    assert shell("agreements", "list").stdout == made.stdout + embargo.stdout + for_all.stdout
    agreement_id = embargo.stdout.split()[0]
    shell("agreements", "end", agreement_id)
    assert "  ended " in shell("agreements", "list").stdout.splitlines()[1]
    shell("agreements", "end", agreement_id, code=2)


def test_serve_keeps_others_out_of_its_folder_and_ends_cleanly(shell: Shell) -> None:
    served = shell.serve()
    try:
        assert served.stdout is not None
        assert "Chargegraph answers on http://127.0.0.1:" in served.stdout.readline()
        refused = shell("index", "harbour", code=2)
        assert f"in use by process {served.pid}" in refused.stderr
        shell("keys", "create", "beside-it")
    finally:
        served.send_signal(signal.SIGTERM)
    _, complaints = served.communicate(timeout=20)
    assert (served.returncode, complaints) == (0, "")
    shell("index", "harbour")


def test_ctrl_c_ends_an_index_run_and_the_next_one_finishes(shell: Shell) -> None:
    shell("index", "harbour")
    shell.say([{**LOCATION, "id": str(number)} for number in range(30_000)])
    running = subprocess.Popen(
        [sys.executable, "-m", "app", "index", "harbour"],
        cwd=shell.repository, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stderr is not None
    running.stderr.readline()  # the first line of progress: it is under way
    time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, complaints = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "Traceback" not in complaints
    shell.say([LOCATION])
    assert "1 indexed, 0 changed, 0 removed" in shell("index", "harbour").stdout


def test_the_schema_is_printed(shell: Shell, repository: Path) -> None:
    assert shell("schema").stdout == (repository / "schema" / "schema.graphql").read_text(encoding="utf-8")
