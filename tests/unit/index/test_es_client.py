"""Whatever Elasticsearch's client raises becomes our own error at the border."""

import inspect
import types
from collections.abc import Iterator

import elastic_transport
import elasticsearch
import msgspec
import pytest

from app.errors import UnavailableError
from app.index._es_client import RefusedError, answering


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
