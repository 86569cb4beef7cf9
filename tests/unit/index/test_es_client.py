"""Whatever Elasticsearch's client raises becomes our own error at the border."""

import inspect
import types
from collections.abc import Iterator

import elastic_transport
import elasticsearch
import msgspec
import pytest

from app.errors import UnavailableError
from app.index import _es_query
from app.index._es_client import RefusedError, answering, search_lines, search_parts
from app.model.geo import Point
from app.model.search import Near
from tests.golden.elasticsearch.golden import check_golden


def raised_by(module: types.ModuleType) -> Iterator[type[Exception]]:
    for _, value in inspect.getmembers(module, inspect.isclass):
        if issubclass(value, Exception) and not issubclass(value, Warning):
            yield value


_EXCEPTIONS = sorted({*raised_by(elasticsearch), *raised_by(elastic_transport)}, key=repr)


def make(kind: type[Exception]) -> Exception:
    if issubclass(kind, elastic_transport.ApiError):
        node = elastic_transport.NodeConfig("http", "127.0.0.1", 9200)
        headers = elastic_transport.HttpHeaders()
        meta = elastic_transport.ApiResponseMeta(503, "1.1", headers, 0.1, node)
        return kind("no_master", meta, b'{"error":{"type":"no_master","reason":"none was elected"}}')
    return kind("it broke")


def test_the_library_has_the_exceptions_that_are_walked() -> None:
    assert {elasticsearch.NotFoundError, elastic_transport.ConnectionTimeout, elastic_transport.TlsError} <= {
        *_EXCEPTIONS
    }


@pytest.mark.parametrize("kind", [*_EXCEPTIONS, msgspec.DecodeError, msgspec.ValidationError])
def test_every_exception_of_the_library_is_unavailable_here(kind: type[Exception]) -> None:
    with pytest.raises(UnavailableError) as caught, answering():
        raise make(kind)
    assert isinstance(caught.value.__cause__, kind)


def test_what_was_refused_says_why() -> None:
    with pytest.raises(RefusedError, match="503 no_master: none was elected") as caught, answering():
        raise make(elasticsearch.ApiError)
    assert (caught.value.status, caught.value.kind) == (503, "no_master")
    assert caught.value.retry_after_s


def test_our_own_mistakes_are_not_hidden() -> None:
    with pytest.raises(KeyError), answering():
        raise KeyError("a bug")


def request(number: int, size: int = 13) -> _es_query.Query:
    where = Near(center=Point(lon=121.5, lat=float(number % 90)), radius_m=5_000.0)
    return _es_query.nearest(_es_query.possible(where, None), where, size, None)


def test_a_batch_is_its_golden_one() -> None:
    (part,) = search_parts([request(31), request(32)])
    check_golden("request_batch", [msgspec.json.decode(line) for line in search_lines(part).splitlines()])


@pytest.mark.parametrize(
    ("count", "size"), [(0, 13), (1, 13), (100, 13), (101, 13), (25, 1_000), (3, 10_000), (250, 0)]
)
def test_a_batch_is_sent_in_parts_that_are_not_too_large(count: int, size: int) -> None:
    parts = list(search_parts(request(number, size) for number in range(count)))
    requests = [msgspec.json.decode(each) for part in parts for each in part]
    assert requests == [msgspec.json.decode(msgspec.json.encode(request(number, size))) for number in range(count)]
    assert all(0 < len(part) <= 100 and len(part) * size <= 12_000 for part in parts)
    assert len(parts) == max(-(-count // 100), -(-count // max(1, 12_000 // size)) if size else 0)


def test_a_part_is_no_larger_than_may_be_sent() -> None:
    large = {"size": 1, "query": {"terms": {"operator": ["x" * 100_000]}}}
    parts = list(search_parts([large] * 25))
    assert [len(part) for part in parts] == [9, 9, 7]
    assert [len(part) for part in search_parts([{"size": 20_000, "query": "x" * 2**20}, large])] == [1, 1]
