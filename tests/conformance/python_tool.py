"""Suites and tools of others in Python: an environment each, so that none dictates the versions of what we run on.

A folder `tests/conformance/NAME` has a `requirements.in` with what is wanted, and a lock of all of it with hashes:
`uv pip compile requirements.in --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o
requirements.txt`. The environment is made in the user's cache, once for all checkouts and runs.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.servers.process import ServerMissingError, cache_folder, locked

_HERE = Path(__file__).parent
_INSTALLED_WITHIN_S = 900
_INSTALLED = ".installed"


@functools.cache
def python_tool(name: str) -> Path:
    """Return the folder of the programs that `tests/conformance/NAME/requirements.txt` brings, `python` among them.

    Raises ServerMissingError where they cannot be installed.
    """
    requirements = _HERE / name / "requirements.txt"
    # Environments refer to the interpreter that made them.
    made_of = requirements.read_bytes() + sys.base_prefix.encode() + sys.version.encode()
    cache = cache_folder("python")
    folder = cache / f"{name}-{hashlib.sha256(made_of).hexdigest()[:12]}"
    with locked(cache / f"{name}.lock"):
        if not (folder / _INSTALLED).exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(name, sys.executable, "-m", "venv", str(folder))
            pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input")
            _run(name, *pip, "install", "--quiet", "--require-hashes", "-r", str(requirements))
            (folder / _INSTALLED).touch()
    return folder / "bin"


def run_tool(
    programs: Path, *command: str, folder: Path, environment: Mapping[str, str] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run one of the programs in a folder, where it may write; look at its exit code. It sees none of our modules."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=folder,
        env={**inherited, "NO_COLOR": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _run(name: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALLED_WITHIN_S, check=False)
    if done.returncode != 0:
        raise ServerMissingError(f"{name} could not be installed: {(done.stderr or done.stdout).strip()[-2_000:]}")
