"""All benchmarks that need no servers, one after the other: `python -m bench [--stations 500000]`, or `make bench`.

Prints what they print, and writes it with the versions of everything into bench/README.md.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from app.model.clock import system_clock, to_datetime
from bench import data

PAGE = Path(__file__).with_name("README.md")
MEASURED = ("fastapi", "graphql-core", "numba", "numpy", "orjson", "strawberry-graphql", "uvicorn", "uvloop")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def run(name: str, *arguments: str) -> str:
    """Run a benchmark, show what it prints, and return it."""
    print(f"== {name}", flush=True)
    shown = []
    command = [sys.executable, "-m", f"bench.{name}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            shown.append(line)
    if process.returncode:
        sys.exit(f"bench.{name} failed")
    return "".join(shown).rstrip()


def processor() -> str:
    """Return what the machine says of its processor."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=500_000)
    count = str(parser.parse_args().stations)
    data.folder_of(int(count))
    parts = [
        ("The whole API over HTTP", run("http", "--stations", count)),
        ("The executor alone", run("execution")),
        ("The grid alone", run("grid", "--stations", count)),
        ("Single operations", run("ops", "--stations", count)),
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in MEASURED)
    day = f"{to_datetime(system_clock()):%Y-%m-%d}"
    machine = f"{os.cpu_count()} processors ({processor()}), Python {platform.python_version()}"
    head = f"{day}, {machine}, {versions}."
    measured = "\n\n".join([head, *(f"### {title}\n\n```text\n{shown}\n```" for title, shown in parts)])
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
