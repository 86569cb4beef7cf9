"""The GraphQL IDE: one page and its files, all served by us; it asks nobody else for anything."""

from importlib.resources import files

from starlette.types import Send

PATH = "/graphql/ide"
FOLDER = files("app.web") / "static" / "ide"

# The editor sets styles on its elements, and carries its fonts as data.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def send_page(send: Send) -> None:
    """Send the page. It reads a key from the address's fragment, which browsers never send to a server."""
    body = (FOLDER / "index.html").read_bytes()
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode("latin-1")),
        (b"content-security-policy", _POLICY.encode("latin-1")),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-cache"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
