"""Tools in Python that would fight with our own libraries: each in an environment of its own, from locked hashes.

`tests/conformance/NAME/requirements.txt` is resolved from the `requirements.in` beside it:
`uv pip compile requirements.in --universal --python-version 3.11 --generate-hashes --no-header --no-annotate`.
"""

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.servers.process import ServerMissingError, locked

_HERE = Path(__file__).parent
_INSTALLED_WITHIN_S = 600
_INSTALLED = ".installed"


@functools.cache
def python_tool(name: str) -> Path:
    """Return the folder of the programs of a tool, installed once for all checkouts and runs.

    Raises ServerMissingError where it cannot be installed.
    """
    requirements = _HERE / name / "requirements.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chargegraph-python"
    folder = cache / f"{name}-{version}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{name}.lock"):
        if not (folder / _INSTALLED).exists():
            _run(name, sys.executable, "-m", "venv", "--clear", str(folder))
            install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
            _run(name, str(folder / "bin" / "python"), *install, "--require-hashes", "-r", str(requirements))
            (folder / _INSTALLED).touch()
    return folder / "bin"


def _run(name: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALLED_WITHIN_S, check=False)
    if done.returncode != 0:
        raise ServerMissingError(f"{name} cannot be installed: {done.stderr.strip()[-2_000:]}")
