"""What every request says while a store is away is said now and then."""

import logging

import pytest

from app.logs import SHOWN, WINDOW_S, Seldom
from app.model.clock import ManualClock


def test_warnings_of_a_kind_are_few_and_errors_are_all_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    monkeypatch.setattr("app.logs.monotonic_s", clock)
    logger = logging.getLogger("chargegraph.test_logs")
    logger.addFilter(Seldom())

    def said() -> list[str]:
        texts = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return texts

    for number in range(100):
        logger.warning("away: %d %%", number)
        logger.error("broken: %d", number)
    logger.warning("another")
    told = said()
    assert [text for text in told if "broken" in text] == [f"broken: {number}" for number in range(100)]
    assert [text for text in told if "away" in text] == [f"away: {number} %" for number in range(SHOWN)]
    assert told[-1] == "another"
    clock.advance(WINDOW_S)
    for _ in range(2):
        logger.warning("away: %d %%", 7)
    assert said() == [f"away: 7 % (and {100 - SHOWN} before it that were not shown)", "away: 7 %"]
