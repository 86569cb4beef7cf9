"""The way to the hub: where it is, with whose key, how long to wait, and what to ask again.

    export HUB_URL=http://127.0.0.1:8080/graphql HUB_KEY=cg_…    # `make demo` prints both

Keys come from the environment, never from the command line, where every process of the machine could read them.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Final

import httpx

TIMEOUT_S: Final = 15.0  # the hub answers within ten
SILENCE_S: Final = 30.0  # of a stream; the hub sends at least a comment every twelve
MAX_TRIES: Final = 5
MAX_WAIT_S: Final = 30.0
EVENT_STREAM: Final = "text/event-stream"
ASK_AGAIN: Final = {"UNAVAILABLE", "RATE_LIMITED"}


class HubError(Exception):
    """Something that cannot be done, in one line for a person."""


def open_client() -> httpx.AsyncClient:
    """Return an HTTP client that sends the key with each request, and is patient. Raises HubError without a key."""
    key = os.environ.get("HUB_KEY", "")
    if not key:
        raise HubError("set HUB_KEY to your key")
    return httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S, transport=Patient())


def hub_url() -> str:
    """Return the address of the hub's endpoint."""
    return os.environ.get("HUB_URL", "http://127.0.0.1:8080/graphql")


async def ask(client: httpx.AsyncClient, document: str, operation: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of an operation of a document. Raises HubError with what the hub says is wrong."""
    request = {"query": document, "operationName": operation, "variables": variables}
    response = await client.post(hub_url(), json=request)
    try:
        answer = response.json()
    except ValueError:
        raise HubError(what_is_wrong(response)) from None
    return data_of(answer)


async def follow(
    client: httpx.AsyncClient, document: str, operation: str, variables: Mapping[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """Yield what a subscription tells, by server-sent events, until it is complete. Raises HubError.

    Where the connection breaks, it is asked for anew: what comes first then says what is there now.
    """
    request = {"query": document, "operationName": operation, "variables": variables}
    headers, timeout = {"Accept": EVENT_STREAM}, httpx.Timeout(TIMEOUT_S, read=SILENCE_S)
    tries_left = MAX_TRIES
    while tries_left:
        try:
            async with client.stream("POST", hub_url(), json=request, headers=headers, timeout=timeout) as response:
                event = ""
                async for line in response.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        event = value
                    elif name == "data" and event == "complete":
                        return
                    elif name == "data":
                        yield data_of(json.loads(value))
                        tries_left = MAX_TRIES
        except httpx.TransportError:
            pass
        tries_left -= 1
        say("the connection broke; following anew")
        await asyncio.sleep(random.uniform(0.1, 0.2) * 2 ** (MAX_TRIES - tries_left))
    raise HubError(f"{operation} breaks again and again")


def data_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the data of an answer that has no errors."""
    for error in answer.get("errors", ()):
        raise HubError(f"{error['message']} ({error['extensions']['code']})")
    data: dict[str, Any] = answer["data"]
    return data


class Patient(httpx.AsyncHTTPTransport):
    """Asks again where the network lost the answer or the hub was unable just then, MAX_TRIES times in all.

    Mutations too: each carries an idempotency key, so that asking again does nothing twice.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first answer that is final, or the last one. Raises HubError for what is no answer."""
        for tries_left in reversed(range(MAX_TRIES)):
            wait_s = random.uniform(0.1, 0.2) * 2 ** (MAX_TRIES - tries_left)
            try:
                response = await super().handle_async_request(request)
                if response.headers.get("content-type", "").startswith(EVENT_STREAM):
                    return response
                await response.aread()
            except httpx.TransportError as lost:
                if not tries_left:
                    raise
                say(f"the answer was lost ({type(lost).__name__}); asking again")
            else:
                reason, retry_after_s = why_not_now(response)
                if reason is None or not tries_left:
                    if response.is_error:
                        raise HubError(reason or what_is_wrong(response))
                    return response
                wait_s = max(wait_s, min(retry_after_s, MAX_WAIT_S))
                say(f"{reason}; asking again in {wait_s:.1f} s")
            await asyncio.sleep(wait_s)
        raise AssertionError


def why_not_now(response: httpx.Response) -> tuple[str | None, float]:
    """Return why the hub could not do it just then, and after how many seconds it may; None where it is final."""
    try:
        answer = response.json()
    except ValueError:  # not the hub: something on the way to it
        return (f"HTTP {response.status_code}" if response.status_code >= 500 else None), 0.0
    for error in answer.get("errors", ()):
        extensions = error.get("extensions", {})
        if extensions.get("code") in ASK_AGAIN:
            return error["message"], float(extensions.get("retryAfterS", 0.0))
    for payload in (answer.get("data") or {}).values():
        for refusal in payload.get("userErrors", ()) if isinstance(payload, dict) else ():
            if refusal.get("code") in ASK_AGAIN:
                return refusal.get("message", refusal["code"]), 0.0
    return None, 0.0


def what_is_wrong(response: httpx.Response) -> str:
    """Return why there is no answer to expect, as the hub says it."""
    try:
        data_of(response.json())
    except HubError as error:
        return str(error)
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    return f"HTTP {response.status_code} from {hub_url()}, which is no GraphQL"


def say(text: str) -> None:
    """Tell a person how it goes, beside the results."""
    print(text, file=sys.stderr, flush=True)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a program. Exit code 1, and one line, when it cannot do what it is for."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr] # names of stations, whatever the terminal is
    try:
        asyncio.run(work)
    except HubError as error:
        sys.exit(str(error))
    except httpx.HTTPError as error:
        sys.exit(f"no answer from {hub_url()}: {type(error).__name__} {error}".rstrip())
    except KeyboardInterrupt:
        sys.exit(130)
