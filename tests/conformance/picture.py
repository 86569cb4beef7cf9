"""Takes the README's picture of the map page: ``python -m tests.conformance.picture``, over a demo of its own.

Text looks as the fonts of the machine do; Debian's fonts-noto-cjk has the Chinese ones.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conformance.node import node_folder, run_node
from tests.conformance.test_map_page import chromium

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = REPOSITORY / "docs" / "map.png"


def main() -> None:
    """Run a demo, take the picture, end the demo."""
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        environment = {**os.environ, "CHARGEGRAPH_DATA_DIR": data, "CHARGEGRAPH_PORT": "0"}
        command = [sys.executable, "-m", "app", "demo"]
        with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as demo:
            try:
                url = _address(demo)
                taken = run_node(
                    node_folder("page"), "picture.mjs", url, str(PICTURE), environment={"CHROMIUM": chromium()}
                )
                sys.stderr.write(taken.stderr)
            finally:
                demo.terminate()
    raise SystemExit(taken.returncode)


def _address(demo: subprocess.Popen[str]) -> str:
    assert demo.stdout is not None
    for line in demo.stdout:
        if found := re.search(r"on a map.*?(http://\S+)", line):
            return found[1]
    raise SystemExit("the demo ended before it said where the map is")


if __name__ == "__main__":
    main()
