"""How the kernel is made ready."""

import logging
import sys

import numpy as np
import pytest

from app.index import _kernel


def test_without_numba_there_is_no_kernel_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with caplog.at_level(logging.WARNING):
        assert _kernel.load.__wrapped__() is None
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "searches go without the compiled kernel, several times slower"
    ]


def test_classes_of_connectors_list_each_station_once() -> None:
    pytest.importorskip("numba")
    compiled = _kernel.load()
    assert compiled is not None
    rows = (
        np.array([0, 3, 3, 5], np.int64),
        np.array([2, 2, 255, 0, 2], np.uint8),
        np.array([7, 7, 7, -1, 90], np.int32),
    )
    for kernel in (_kernel.PLAIN, compiled):
        stations, starts = kernel.list_stations(*rows, np.array([5, 50], np.int32))
        listed = {code: stations[starts[code] : starts[code + 1]].tolist() for code in range(_kernel.KINDS * 3)}
        assert {code: found for code, found in listed.items() if found} == {0: [2], 7: [0], 8: [2]}
