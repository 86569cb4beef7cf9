"""Federated tracing (ftv1): how long each field took, in the form that Apollo's gateways and routers collect.

The form is the message ``Trace`` of Apollo's ``reports.proto``, as base64 in ``extensions.ftv1``. The numbers below are
its fields; protobuf itself would be a dependency for forty lines.
"""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import isawaitable
from time import perf_counter_ns
from typing import Any

import orjson
from graphql import GraphQLResolveInfo, MiddlewareManager

from app.model.clock import Clock, Instant

_VARINT, _BYTES = 0, 2


class _Node:
    """A place in the answer: a field or an element of a list, or all of it."""

    def __init__(self) -> None:
        self.field: tuple[str, str, str] | None = None
        """Its name in the schema, its type and its parent's; None for an element of a list."""
        self.began_ns = 0
        self.ended_ns = 0
        self.errors: list[Mapping[str, Any]] = []
        self.children: dict[str | int, _Node] = {}


class Trace(MiddlewareManager):
    """Times the resolvers of one request: given to graphql-core as its middleware."""

    def __init__(self, clock: Clock) -> None:
        """Begin now."""
        super().__init__()
        self._clock = clock
        self._began_at = clock()
        self._began_ns = perf_counter_ns()
        self._root = _Node()

    def get_field_resolver(self, field_resolver: Callable[..., Any]) -> Callable[..., Any]:
        """Return a resolver that is timed until its value is there."""

        def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
            node = self._at(info.path.as_list())
            node.field = info.field_name, str(info.return_type), info.parent_type.name
            node.began_ns = self._elapsed_ns()
            value = None
            try:
                value = field_resolver(source, info, **arguments)
            finally:
                node.ended_ns = self._elapsed_ns()
            return self._awaited(node, value) if isawaitable(value) else value

        return resolve

    def finish(self, errors: Iterable[Mapping[str, Any]]) -> str:
        """Return the trace of the request with its errors, which are those that the caller is shown anyway."""
        for error in errors:
            self._at(error.get("path", ())).errors.append(error)
        duration_ns = self._elapsed_ns()
        message = b"".join(
            (
                _bytes(4, _moment(self._began_at)),
                _bytes(3, _moment(self._clock())),
                _number(11, duration_ns),
                _bytes(14, _encoded(self._root)),
            )
        )
        return b64encode(message).decode("ascii")

    async def _awaited(self, node: _Node, value: Awaitable[Any]) -> Any:
        try:
            return await value
        finally:
            node.ended_ns = self._elapsed_ns()

    def _elapsed_ns(self) -> int:
        return perf_counter_ns() - self._began_ns

    def _at(self, path: Iterable[str | int]) -> _Node:
        node = self._root
        for key in path:
            known = node.children.get(key)
            if known is None:
                known = node.children[key] = _Node()
            node = known
        return node


def _encoded(node: _Node) -> bytes:
    parts: list[bytes] = []
    if node.field is not None:
        _, type_, parent = node.field
        parts += (_text(3, type_), _text(13, parent), _number(8, node.began_ns), _number(9, node.ended_ns))
    parts += [_bytes(11, _encoded_error(error)) for error in node.errors]
    for key, child in node.children.items():
        inner = _encoded(child)
        if isinstance(key, int):
            name = _number(2, key, always=True)
        else:
            name = _text(1, key)
            if child.field is not None and child.field[0] != key:
                name += _text(14, child.field[0])
        parts.append(_bytes(12, name + inner))
    return b"".join(parts)


def _encoded_error(error: Mapping[str, Any]) -> bytes:
    places = [_bytes(2, _number(1, at["line"]) + _number(2, at["column"])) for at in error.get("locations", ())]
    return b"".join((_text(1, error["message"]), *places, _bytes(4, orjson.dumps(error))))


def _moment(at: Instant) -> bytes:
    """Encode google.protobuf.Timestamp."""
    seconds, fraction = divmod(at, 1)
    return _number(1, int(seconds)) + _number(2, int(fraction * 1e9))


def _number(field: int, value: int, *, always: bool = False) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value) if value or always else b""


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
