"""What is sent to Elasticsearch stands beside this file, one JSON each."""

import json
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parent


def check_golden(name: str, value: Any) -> None:
    """Compare a value with its golden file; a missing file is written, and the test fails once so that it is read."""
    path = _FOLDER / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        pytest.fail(f"{path.name} was missing and is written: read it, and run the test again")
    assert json.loads(json.dumps(value)) == json.loads(path.read_text(encoding="utf-8"))
