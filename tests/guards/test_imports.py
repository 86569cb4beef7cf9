"""The import contracts of pyproject.toml hold, and a new room or technology is a conscious edit of them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

_PORTS = ("feeds", "index", "live", "partners", "reservations")


def _contracts(repository: Path) -> dict[str, dict[str, Any]]:
    configuration = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"]: contract for contract in configuration["tool"]["importlinter"]["contracts"]}


def test_everyone_imports_only_what_the_contracts_allow(repository: Path) -> None:
    lint = "from importlinter.cli import lint_imports_command as lint; lint()"
    finished = subprocess.run(
        [sys.executable, "-c", lint, "--no-logo", "--no-cache"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_room_has_its_place_among_the_layers(repository: Path) -> None:
    layers = set(re.findall(r"[\w.]+", " ".join(_contracts(repository)["layers"]["layers"])))
    placed = layers | {"app.settings"}  # settings have contracts of their own
    rooms = {
        f"app.{path.stem}"
        for path in (repository / "app").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    }
    assert not rooms - placed, "name each new room in the contract `layers` of pyproject.toml"


@pytest.mark.parametrize("port", _PORTS)
def test_every_implementation_of_a_port_is_named_by_the_wiring_alone(repository: Path, port: str) -> None:
    guarded = set(_contracts(repository)["wiring-names-technologies"]["protected_modules"])
    implementations = {
        f"app.{port}.{path.stem}"
        for path in (repository / "app" / port).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
        if path.stem != "base" and not path.stem.startswith("_")
    }
    assert implementations <= guarded, (
        "a port's folder holds base, its implementations, and their parts with a leading underscore; "
        "name each implementation in the contract `wiring-names-technologies` of pyproject.toml"
    )
