"""The pages for people: the map and the GraphQL IDE, each a folder of files that we serve; they ask nobody else."""

from importlib.resources import files

import msgspec
from starlette.types import Send


class Page(msgspec.Struct, frozen=True):
    """A page: the path that its files are served under, their folder in this package, and what it may load and do."""

    path: str
    folder: str
    policy: str

    @property
    def html(self) -> bytes:
        """The page itself."""
        return (files("app.web") / self.folder / "index.html").read_bytes()


MAP = Page(
    path="/map",
    folder="static/map",
    policy=(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
)
IDE = Page(
    path="/graphql/ide",
    folder="static/ide",
    # The editor sets styles on its elements, and carries its fonts as data.
    policy=(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
)
PAGES = (MAP, IDE)


async def send_page(send: Send, page: Page) -> None:
    """Send a page. It reads a key from the address's fragment, which browsers never send to a server."""
    body = page.html
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode("latin-1")),
        (b"content-security-policy", page.policy.encode("latin-1")),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-cache"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
