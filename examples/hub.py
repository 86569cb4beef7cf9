"""The way to the hub: where it is, with whose key, how long to wait, and what to ask again.

    export HUB_URL=http://127.0.0.1:8080/graphql HUB_KEY=cg_…    # `make demo` prints both

Keys come from the environment, never from the command line, where every process of the machine could read them.
"""

import asyncio
import os
import random
import sys
from collections.abc import Coroutine
from typing import Any, Final

import httpx

TIMEOUT_S: Final = 15.0  # the hub answers within ten
MAX_TRIES: Final = 5
MAX_WAIT_S: Final = 30.0
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


class Patient(httpx.AsyncHTTPTransport):
    """Asks again what the network lost and what the hub could not do just then, MAX_TRIES times in all.

    Mutations too: each carries an idempotency key, so that asking again does nothing twice.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first answer that is final, or the last one. Raises HubError for what is no answer."""
        for tries_left in reversed(range(MAX_TRIES)):
            wait_s = random.uniform(0.1, 0.2) * 2 ** (MAX_TRIES - tries_left)
            try:
                response = await super().handle_async_request(request)
                if response.headers.get("content-type", "").startswith("text/event-stream"):
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
        error = response.json()["errors"][0]
        return f"{error['message']} ({error['extensions']['code']})"
    except (ValueError, LookupError, TypeError):
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
