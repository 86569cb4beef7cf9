"""How text is folded before it is searched: one rule for what is stored and for what is asked."""

from unicodedata import normalize

from app.model.station import Address, Station

END = b"\xff"
"""Ends each station's text in a blob of many; no UTF-8 text holds this byte, so that no word reaches over it."""


def fold(text: str) -> str:
    """Return the text in compatibility form (NFKC) without differences of case."""
    return normalize("NFKC", normalize("NFKC", text).casefold())


def split_words(text: str) -> tuple[bytes, ...]:
    """Return the folded words of a query in UTF-8, split at white space as it was written."""
    return tuple(dict.fromkeys(fold(word).encode(errors="surrogatepass") for word in text.split()))


def address_parts(address: Address) -> tuple[str, ...]:
    """Return the parts of an address that people search by: street, city, region and postal code."""
    parts = (address.text, address.city, address.region, address.postal_code)
    return tuple(part for part in parts if part)


def searchable_text(station: Station) -> bytes:
    """Return name and address, each part folded by itself and on its own line, in UTF-8.

    A word holds no white space, so that it is never found across two parts.
    """
    parts = ((station.name,) if station.name else ()) + address_parts(station.address)
    return "\n".join(fold(part) for part in parts).encode()
