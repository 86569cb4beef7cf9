"""Suites and tools that run on Node.js: a folder each, with its package.json, its lock file and its scripts.

A folder is installed from its lock into the user's cache, once for all checkouts and runs, and its scripts run there.
Lock files hold no addresses: `npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved`.
"""

import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from tests.servers.process import Server, ServerMissingError, cache_folder, locked

_HERE = Path(__file__).parent
_INSTALLED_WITHIN_S = 900
_OLDEST_NODE = 20
_INSTALLED = ".installed"


@functools.cache
def node_folder(name: str) -> Path:
    """Return a copy of `tests/conformance/NAME` that has its packages. Raises ServerMissingError without Node.js."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise ServerMissingError("Node.js with npm is not here, which runs the suites that we did not write")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < _OLDEST_NODE:
        raise ServerMissingError(f"Node.js is {version}, and the suites need {_OLDEST_NODE} or newer")
    source = _HERE / name
    packages = (source / "package.json").read_bytes() + (source / "package-lock.json").read_bytes()
    cache = cache_folder("node")
    folder = cache / f"{name}-{hashlib.sha256(packages).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{name}.lock"):
        ours = shutil.ignore_patterns("*.py", "__pycache__")
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=ours, copy_function=_copy)
        if not (folder / _INSTALLED).exists():
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress"]
            made = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_INSTALLED_WITHIN_S, check=False
            )
            if made.returncode != 0:
                raise ServerMissingError(f"npm could not install {name}: {made.stderr.strip()[-2_000:]}")
            (folder / _INSTALLED).touch()
    return folder


def _copy(source: str, target: str) -> None:
    """Copy a file unless it is there: another run may be reading it."""
    content, there = Path(source).read_bytes(), Path(target)
    if not there.exists() or there.read_bytes() != content:
        new = there.with_name(f"{there.name}.{os.getpid()}")
        new.write_bytes(content)
        new.replace(there)


def run_node(
    folder: Path, *command: str, environment: Mapping[str, str] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program that the folder's packages brought, or else `node` with these words; look at its exit code."""
    return subprocess.run(
        _words(folder, *command),
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", "NO_UPDATE_NOTIFIER": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _words(folder: Path, *command: str) -> list[str]:
    program = folder / "node_modules" / ".bin" / command[0]
    if program.exists():
        return [str(program), *command[1:]]
    script = folder / command[0]
    return ["node", str(script) if script.exists() else command[0], *command[1:]]


class NodeServer(Server):
    """A GraphQL server, or several in one process: a program of a folder's packages, or else one of its scripts.

    It is ready when all its URLs answer. It runs in a folder of its own.
    """

    name = "node"
    ready_within_s = 300.0

    def __init__(
        self,
        folder: Path,
        packages: Path,
        *command: str,
        urls: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder)
        self._packages = packages
        self._words = command
        self._urls = urls
        self._environment = {"NO_COLOR": "1", "NO_UPDATE_NOTIFIER": "1", **(environment or {})}

    @property
    def url(self) -> str:
        return self._urls[0]

    def _command(self) -> Sequence[str]:
        given = [f"{name}={value}" for name, value in self._environment.items()]
        return ["env", *given, *_words(self._packages, *self._words)]

    def _is_ready(self) -> bool:
        try:
            return all(httpx.post(url, json={"query": "{ __typename }"}).is_success for url in self._urls)
        except httpx.TransportError:
            return False
