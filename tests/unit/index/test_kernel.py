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
    starts = np.array([0, 3, 3, 5], np.int64)
    kinds, powers_w = np.array([2, 2, 255, 0, 2], np.uint8), np.array([7, 7, 7, -1, 90], np.int32)
    for kernel in filter(None, (_kernel.PLAIN, _kernel.load())):
        rows, places = (starts, kinds, powers_w, np.array([5, 50], np.int32)), np.zeros(_kernel.KINDS * 3, np.int64)
        kernel.list_stations(*rows, np.full(len(places), -1), places, np.zeros(0, np.int32))
        assert {code: count for code, count in enumerate(places.tolist()) if count} == {0: 1, 7: 1, 8: 1}
        stations, places = np.zeros(3, np.int32), np.append(0, places.cumsum())
        kernel.list_stations(*rows, np.full(len(places), -1), places, stations)
        assert stations.tolist() == [2, 0, 2]
