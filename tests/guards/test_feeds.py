"""A feed is one module and one folder of payloads."""

import importlib
import pkgutil
from pathlib import Path

import indexers.feeds
from indexers.base import factories


def _kinds() -> set[str]:
    for module in pkgutil.iter_modules(indexers.feeds.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"indexers.feeds.{module.name}")
    return set(factories())


def test_every_feed_registers_a_kind() -> None:
    folders = {module.name for module in pkgutil.iter_modules(indexers.feeds.__path__)}
    assert {name for name in folders if not name.startswith("_")} == _kinds()


def test_every_kind_has_payloads_to_be_tested_with(repository: Path) -> None:
    kinds = _kinds()
    assert kinds
    bare = [kind for kind in sorted(kinds) if not _payloads(repository / "tests" / "unit" / "feeds" / kind)]
    assert not bare, "put payloads as the operator sends them beside the feed's tests, in tests/unit/feeds/<kind>/"


def _payloads(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in {".csv", ".json", ".jsonl", ".txt", ".xml"}]
