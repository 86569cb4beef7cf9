"""What stands in the repository works on every machine, and says what it is."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# Written in pieces, so that this file does not find itself.
_REGISTRIES = re.compile(
    "|".join(
        re.escape(name)
        for name in (
            "pypi" + ".org",
            "python" + "hosted.org",
            "registry" + ".npmjs",
            "registry" + ".yarnpkg",
            "repo1" + ".maven",
            "repo" + ".maven",
            "central" + ".sonatype",
            "proxy" + ".golang",
            "static" + ".crates",
            "index" + ".crates",
            "deb" + ".debian.org",
        )
    )
    + r"|--(?:extra-)?index-"
    + r"url|--find-"
    + r"links",
    re.IGNORECASE,
)
_MACHINE_PATHS = re.compile(r"(?<![\w.:/$}*-])/(?:work|root|home|Users)/")


def _tracked(repository: Path) -> list[Path]:
    """Every file that is in the repository or would be at the next `git add .`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git working tree: nothing tells which files belong to the repository")
    paths = (repository / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def _lines(paths: list[Path]) -> Iterator[tuple[Path, int, str]]:
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a binary file names nothing
        for number, line in enumerate(text.splitlines(), 1):
            yield path, number, line


@pytest.mark.parametrize(
    ("pattern", "what"),
    [(_REGISTRIES, "a package registry's address"), (_MACHINE_PATHS, "a path of one machine")],
    ids=["registries", "machines"],
)
def test_no_file_names(repository: Path, pattern: re.Pattern[str], what: str) -> None:
    found = [
        f"{path.relative_to(repository)}:{number}: {match[0]}"
        for path, number, line in _lines(_tracked(repository))
        if (match := pattern.search(line))
    ]
    assert not found, f"{what} stands in the repository"


def test_every_module_says_what_it_is(repository: Path) -> None:
    modules = [path for package in ("app", "indexers", "schema") for path in (repository / package).rglob("*.py")]
    silent = [
        str(path.relative_to(repository))
        for path in modules
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert modules
    assert not silent, "a module's docstring is the first thing a newcomer reads"


def test_the_changelog_has_room_for_the_next_change(repository: Path) -> None:
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[?Unreleased\b", changelog, re.MULTILINE)
