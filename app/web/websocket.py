"""GraphQL over WebSocket: the protocol graphql-transport-ws, and no other.

A socket that does not read stops its own subscriptions: each answer is made when the one before it was taken, and not
before. So a socket costs the memory of one answer, whatever happens meanwhile.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import orjson
from starlette.types import Receive, Scope, Send

from app.errors import ChargegraphError, UnavailableError
from app.services.bundle import Services
from app.services.viewer import Viewer
from app.web.admission import Admitted, OverQuotaError
from app.web.auth import Doorkeeper
from app.web.graphql_endpoint import DEADLINE_S
from app.web.graphql_request import GraphQLRequest, RefusedError, read_payload
from app.web.guard import KEY_REVOKED, Guard
from app.web.http import header
from schema.context import Context
from schema.engine import Answer, Engine, Stream
from schema.errors import ErrorCode, error_body, internal_error, unavailable_error

PROTOCOL = "graphql-transport-ws"
INIT_WITHIN_S = 5.0
MAX_OPERATIONS = 100
"""How many operations a socket may have at once."""

MAX_SOCKETS = 10_000
MAX_SOCKETS_A_PARTNER = 1_000
MAX_ID_CHARACTERS = 200

_GOING_AWAY = 1001
_TRY_LATER = 1013
_BAD_REQUEST = 4400
_UNAUTHORIZED = 4401
_FORBIDDEN = 4403
_NO_PROTOCOL = 4406
_INIT_TOO_LATE = 4408
_SAME_ID = 4409
_SECOND_INIT = 4429


class _Message(msgspec.Struct, frozen=True):
    """A message of the protocol."""

    type: str
    id: str | None = None
    payload: Any = None


class _CloseError(ChargegraphError):
    """The socket has to be closed, with this code and for this reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class WebSocketEndpoint:
    """Answers at one address. Never raises for anything that a client can cause."""

    def __init__(
        self,
        services: Services,
        doorkeeper: Doorkeeper,
        engine: Engine,
        admit: Callable[[GraphQLRequest, Viewer], Awaitable[Admitted]],
        *,
        init_within_s: float = INIT_WITHIN_S,
    ) -> None:
        """Take what is asked, who may ask, what executes, and what admits a request."""
        self.services = services
        self.doorkeeper = doorkeeper
        self.engine = engine
        self.admit = admit
        self.init_within_s = init_within_s
        self._sockets = 0
        self._by_partner: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket from its opening to its end."""
        await receive()
        if self._sockets >= MAX_SOCKETS or self.services.watching.ended.is_set():
            await send({"type": "websocket.close"})
            return
        chosen = PROTOCOL if PROTOCOL in scope["subprotocols"] else None
        self._sockets += 1
        try:
            await send({"type": "websocket.accept", "subprotocol": chosen})
            if chosen is None:
                reason = f"the sub-protocol here is {PROTOCOL}"
                await send({"type": "websocket.close", "code": _NO_PROTOCOL, "reason": reason})
            else:
                await _Socket(self, scope, receive, send).serve()
        except OSError:
            pass  # the client is gone
        finally:
            self._sockets -= 1

    @property
    def socket_count(self) -> int:
        """How many sockets are open."""
        return self._sockets

    @contextlib.contextmanager
    def counted(self, partner_id: str) -> Any:
        """Count a socket of a partner while it is open."""
        count = self._by_partner.get(partner_id, 0)
        if count >= MAX_SOCKETS_A_PARTNER:
            raise _CloseError(_FORBIDDEN, f"a partner may have {MAX_SOCKETS_A_PARTNER} sockets at once")
        self._by_partner[partner_id] = count + 1
        try:
            yield
        finally:
            left = self._by_partner[partner_id] - 1
            if left:
                self._by_partner[partner_id] = left
            else:
                del self._by_partner[partner_id]


class _Socket:
    """One connection."""

    def __init__(self, endpoint: WebSocketEndpoint, scope: Scope, receive: Receive, send: Send) -> None:
        self._endpoint = endpoint
        self._scope = scope
        self._receive = receive
        self._send = send
        self._turn = asyncio.Lock()
        """Held by whoever writes: an answer is not even made before the one that was written last has been taken."""
        self._operations: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Live through the connection."""
        try:
            async with asyncio.timeout(self._endpoint.init_within_s):
                viewer, guard = await self._open()
        except TimeoutError:
            await self._close(_INIT_TOO_LATE, "connection_init did not come in time")
            return
        except _CloseError as ended:
            await self._close(ended.code, ended.reason)
            return
        if viewer is None or guard is None:
            return
        try:
            with self._endpoint.counted(viewer.partner.id):
                await self._write({"type": "connection_ack"})
                await self._serve(viewer, guard)
        except _CloseError as ended:
            await self._close(ended.code, ended.reason)

    async def _open(self) -> tuple[Viewer | None, Guard | None]:
        """Return who it is, and what tells when the key is no longer good; nobody when the client is gone."""
        while True:
            message = await self._next_message()
            if message is None:
                return None, None
            if message.type == "connection_init":
                break
            if message.type not in {"ping", "pong"}:
                raise _CloseError(_UNAUTHORIZED, "connection_init comes first")
            await self._pong(message)
        guard = Guard(self._endpoint.doorkeeper, self._endpoint.services.watching, self._key_scope(message.payload))
        try:
            viewer = await guard.find_viewer()
        except UnavailableError:
            raise _CloseError(_TRY_LATER, "nobody can tell now whose key this is; try again later") from None
        if viewer is None:
            raise _CloseError(_FORBIDDEN, "a valid key is needed, in connection_init or in a header")
        return viewer, guard

    def _key_scope(self, payload: object) -> Scope:
        """Return a scope with the key: from connection_init, or from the headers unless another site sent them."""
        if isinstance(payload, dict):
            given = {str(name).lower(): value for name, value in payload.items()}
            for name, form in (("authorization", "{}"), ("key", "Bearer {}"), ("x-api-key", "Bearer {}")):
                value = given.get(name)
                if isinstance(value, str):
                    return {"headers": [(b"authorization", form.format(value).encode("latin-1", "replace"))]}
        return self._scope if _is_same_origin(self._scope) else {"headers": []}

    async def _serve(self, viewer: Viewer, guard: Guard) -> None:
        reading = asyncio.create_task(self._read(viewer))
        guarding = asyncio.create_task(guard.until_over(viewer))
        try:
            done, _ = await asyncio.wait({reading, guarding}, return_when=asyncio.FIRST_COMPLETED)
            if reading in done:
                reading.result()
            elif guarding.result() is None:
                raise _CloseError(_GOING_AWAY, "the server is ending")
            else:
                raise _CloseError(_FORBIDDEN, KEY_REVOKED)
        finally:
            tasks = [reading, guarding, *self._operations.values()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _read(self, viewer: Viewer) -> None:
        """Do what the client says until it is gone."""
        while (message := await self._next_message()) is not None:
            match message.type:
                case "subscribe":
                    await self._begin(message, viewer)
                case "complete":
                    operation = self._operations.pop(self._id_of(message), None)
                    if operation is not None:
                        operation.cancel()
                case "ping" | "pong":
                    await self._pong(message)
                case "connection_init":
                    raise _CloseError(_SECOND_INIT, "Too many initialisation requests")
                case _:
                    raise _CloseError(_BAD_REQUEST, "a message of this type is not for the server")

    async def _begin(self, message: _Message, viewer: Viewer) -> None:
        operation_id = self._id_of(message)
        try:
            request = read_payload(message.payload)
        except RefusedError as refused:
            raise _CloseError(_BAD_REQUEST, str(refused)) from None
        if operation_id in self._operations:
            raise _CloseError(_SAME_ID, f"Subscriber for {operation_id} already exists")
        if len(self._operations) >= MAX_OPERATIONS:
            excess = error_body(ErrorCode.FORBIDDEN, f"a socket may have {MAX_OPERATIONS} operations at once")
            await self._write({"type": "error", "id": operation_id, "payload": [excess]})
            return
        task = asyncio.create_task(self._operate(operation_id, request, viewer))
        self._operations[operation_id] = task
        task.add_done_callback(lambda done: self._forget(operation_id, done))

    def _forget(self, operation_id: str, done: asyncio.Task[None]) -> None:
        if self._operations.get(operation_id) is done:
            del self._operations[operation_id]
        if not done.cancelled():
            done.exception()  # the client is gone; the reading task finds out too

    async def _operate(self, operation_id: str, request: GraphQLRequest, viewer: Viewer) -> None:
        """Answer one operation to its end."""
        name = orjson.dumps(operation_id)
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer = await self._answer(request, viewer)
        except TimeoutError:
            message = f"the answer took longer than {DEADLINE_S:g} s; repeat a mutation with its idempotency key"
            error = error_body(ErrorCode.UNAVAILABLE, message, retryAfterS=1.0)
            answer = Answer({"errors": [error]}, executed=False)
        except Exception as unforeseen:  # noqa: BLE001 - the border: nothing of it may reach a client
            answer = Answer({"errors": [internal_error(unforeseen)]}, executed=False)
        if isinstance(answer, Stream):
            await self._pass_on(name, answer)
        elif answer.executed:
            await self._write_next(name, orjson.dumps(answer.body))
        else:
            await self._write({"type": "error", "id": operation_id, "payload": answer.body["errors"]})
            return
        self._operations.pop(operation_id, None)  # a client may use the name again once it hears that this is complete
        await self._write({"type": "complete", "id": operation_id})

    async def _answer(self, request: GraphQLRequest, viewer: Viewer) -> Answer | Stream:
        engine = self._endpoint.engine
        try:
            admitted = await self._endpoint.admit(request, viewer)
        except (RefusedError, OverQuotaError) as refused:
            return Answer(refused.body, executed=False)
        except UnavailableError as absent:
            return Answer({"errors": [unavailable_error(absent)]}, executed=False)
        plan, name = admitted.plan, admitted.operation_name
        if isinstance(plan, Answer):
            return plan
        context = Context(self._endpoint.services, viewer)
        if plan.subscribes(name):
            return await engine.subscribe(plan, name, request.variables, context)
        return await engine.execute(plan, name, request.variables, context)

    async def _pass_on(self, name: bytes, stream: Stream) -> None:
        try:
            while await stream.ready():
                async with self._turn:
                    await self._write_text(_next(name, await stream.answer()))
        finally:
            stream.close()

    async def _next_message(self) -> _Message | None:
        """Return what the client says next; None when it is gone."""
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            return None
        text = event.get("text")
        if text is None:
            raise _CloseError(_BAD_REQUEST, "messages are JSON in text")
        try:
            return msgspec.json.decode(text, type=_Message)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise _CloseError(_BAD_REQUEST, f"this is not a message of {PROTOCOL}") from None

    def _id_of(self, message: _Message) -> str:
        if not message.id or len(message.id) > MAX_ID_CHARACTERS:
            raise _CloseError(_BAD_REQUEST, f"id is a text of 1 to {MAX_ID_CHARACTERS} characters")
        return message.id

    async def _pong(self, message: _Message) -> None:
        if message.type == "ping":
            await self._write(
                {"type": "pong"} if message.payload is None else {"type": "pong", "payload": message.payload}
            )

    async def _write(self, message: Mapping[str, Any]) -> None:
        async with self._turn:
            await self._write_text(orjson.dumps(message))

    async def _write_next(self, name: bytes, answer: bytes) -> None:
        async with self._turn:
            await self._write_text(_next(name, answer))

    async def _write_text(self, message: bytes) -> None:
        await self._send({"type": "websocket.send", "text": message.decode()})

    async def _close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason[:100]})


async def refuse_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the opening of a socket at an address where there are none."""
    del scope
    await receive()
    await send({"type": "websocket.close"})


def _next(name: bytes, answer: bytes) -> bytes:
    return b'{"type":"next","id":' + name + b',"payload":' + answer + b"}"


def _is_same_origin(scope: Scope) -> bool:
    """Tell whether no browser's page of another site opened this socket."""
    origin = header(scope, b"origin")
    return origin is None or urlsplit(origin).netloc == header(scope, b"host")
