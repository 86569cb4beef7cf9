"""What is installed is what was declared: exact, with hashes, on every platform we promise."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_LOCKS = ("requirements.txt", "requirements-dev.txt")
_PLATFORMS = [
    {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": system,
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": sys_platform,
    }
    for (sys_platform, system, machine), python in itertools.product(
        (
            ("darwin", "Darwin", "arm64"),
            ("darwin", "Darwin", "x86_64"),
            ("linux", "Linux", "aarch64"),
            ("linux", "Linux", "x86_64"),
        ),
        ("3.11", "3.12", "3.13", "3.14"),
    )
]
_SOMETIMES = {"colorama", "async-timeout", "numba", "llvmlite"}
"""What only Windows, or only Python before 3.11.3, needs; and numba, which has no wheels for Intel Macs."""

_Pin = tuple[str, str]


def _pins(requirements: list[Requirement], platform: dict[str, str]) -> list[_Pin]:
    """Name and exact version of each requirement that holds on a platform."""
    return sorted(
        (canonicalize_name(requirement.name), str(requirement.specifier))
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(platform)
    )


def _declared(repository: Path, lock: str) -> list[Requirement]:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    dev = project["dependency-groups"]["dev"] if lock == "requirements-dev.txt" else []
    return [Requirement(line) for line in (*project["project"]["dependencies"], *dev)]


def _entries(repository: Path, lock: str) -> list[str]:
    text = (repository / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _locked(repository: Path, lock: str) -> list[Requirement]:
    return [Requirement(entry.split(" --hash")[0].strip()) for entry in _entries(repository, lock)]


@pytest.mark.parametrize("lock", _LOCKS)
def test_every_dependency_is_declared_and_locked_as_an_exact_version(repository: Path, lock: str) -> None:
    requirements = [*_declared(repository, lock), *_locked(repository, lock)]
    assert not [str(pin) for pin in requirements if not re.fullmatch(r"==[^*,]+", str(pin.specifier))]


@pytest.mark.parametrize("lock", _LOCKS)
def test_every_platform_gets_everything_once_and_as_declared(repository: Path, lock: str) -> None:
    declared, locked = _declared(repository, lock), _locked(repository, lock)
    names = {canonicalize_name(requirement.name) for requirement in locked} - _SOMETIMES
    for platform in _PLATFORMS:
        installed = _pins(locked, platform)
        assert set(_pins(declared, platform)) <= set(installed), f"run `make lock`: {platform}"
        assert sorted({name for name, _ in installed} - _SOMETIMES) == sorted(names), f"a marker leaves out: {platform}"


def test_development_runs_what_production_runs(repository: Path) -> None:
    runtime, development = (set(map(str, _locked(repository, lock))) for lock in _LOCKS)
    assert runtime <= development, "run `make lock`"


@pytest.mark.parametrize("lock", _LOCKS)
def test_every_locked_version_carries_hashes(repository: Path, lock: str) -> None:
    entries = _entries(repository, lock)
    assert entries
    assert not [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)]


def test_the_tools_of_others_are_locked_with_hashes(repository: Path) -> None:
    folders = [path.parent for path in (repository / "tests" / "conformance").glob("*/requirements.in")]
    assert folders
    for folder in folders:
        lock = str(folder.relative_to(repository) / "requirements.txt")
        wanted = {str(Requirement(line)) for line in (folder / "requirements.in").read_text().splitlines()}
        locked = set(map(str, _locked(repository, lock)))
        assert wanted <= locked, f"{lock}: compile it anew"
        entries = _entries(repository, lock)
        assert not [entry for entry in entries if not re.search(r"==\S+.*--hash=sha256:[0-9a-f]{64}\b", entry)]
