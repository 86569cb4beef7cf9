"""One table of settings, read from the environment; a name that begins like ours and is not in it is an error."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from app.errors import SettingsError

PREFIX = "CHARGEGRAPH_"
DEFAULT_INDEX_PREFIX = "chargegraph"
LogFormat = Literal["text", "json"]
"""How the log reads."""

_PERIODS_S = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_WINDOW = re.compile(r"([1-9]\d{0,11})/(s|min|h|d)", re.ASCII)
_SHARE = re.compile(r"\d(\.\d{1,9})?", re.ASCII)
_INDEX_PREFIX = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


class Setting(msgspec.Struct, frozen=True):
    """One row: the environment's name, the default as text, and what it does."""

    name: str
    default: str
    help: str


SETTINGS = (
    Setting("CHARGEGRAPH_DATA_DIR", "var", "Folder of the embedded stores; made when missing."),
    Setting(
        "CHARGEGRAPH_STATION_INDEX_URL",
        "",
        "Elasticsearch nodes for stations, separated by commas; a path (`http://host:9200/mine`) is how the names of "
        "its indices begin, else `chargegraph`; empty: SQLite.",
    ),
    Setting("CHARGEGRAPH_LIVE_URL", "", "Redis for live status, `redis://host:6379/0`; empty: memory and SQLite."),
    Setting(
        "CHARGEGRAPH_RESERVATIONS_URL",
        "",
        "Redis for reservations, keys, reports and quotas; add `?replicas=N` where it has N replicas; empty: SQLite.",
    ),
    Setting("CHARGEGRAPH_HOST", "127.0.0.1", "Address that `serve` listens on."),
    Setting("CHARGEGRAPH_PORT", "8080", "Port that `serve` listens on; 0 takes a free one."),
    Setting(
        "CHARGEGRAPH_ADMIN_HOST",
        "127.0.0.1",
        "Address of the admin port, which has no keys: nobody from outside may reach it.",
    ),
    Setting(
        "CHARGEGRAPH_ADMIN_PORT",
        "",
        "Port of `/metrics`, `/livez`, `/readyz` and `/startupz`, open from the first moment of a start; of several "
        "workers each takes the next free one from here on; 0 takes any, empty none.",
    ),
    Setting(
        "CHARGEGRAPH_DRAIN_S",
        "5",
        "After SIGTERM: seconds in which requests are still taken while `/readyz` says no; SIGINT does not wait.",
    ),
    Setting("CHARGEGRAPH_LOG_FORMAT", "text", "How the log reads: text, or json for one object a line."),
    Setting("CHARGEGRAPH_ACCESS_LOG", "off", "Whether the log has a line for each request: on or off."),
    Setting(
        "CHARGEGRAPH_TRACES_URL",
        "",
        "Collector of traces, OTLP over HTTP, as in `http://collector:4318`; empty: none are made.",
    ),
    Setting(
        "CHARGEGRAPH_TRACES_RATIO",
        "1",
        "Share of requests that are traced, from 0 to 1, where the caller's `traceparent` does not decide.",
    ),
    Setting("CHARGEGRAPH_FEEDS", "", "Names of the feeds to run, separated by commas; empty runs none."),
    Setting("CHARGEGRAPH_PROFILES_DIR", "", "Folder of further feed profiles (*.toml); they win over ours by name."),
    Setting("CHARGEGRAPH_INBOUND_PATH", "/evcs/v1", "Path under which operators call us (T/CEC 102)."),
    Setting("CHARGEGRAPH_PAGES", "on", "Whether browsers get the map at `/` and the IDE at `/graphql`: on or off."),
    Setting(
        "CHARGEGRAPH_COMPILED", "on", "Whether answers are projected by compiled functions: on or off; off is slower."
    ),
    Setting(
        "CHARGEGRAPH_STATUSES",
        "2025",
        "Status codes of the GraphQL endpoint: `2025`, which today's clients and audits expect, or `2026`, the "
        "specification's first edition: 422 for what does not validate, 294 for data beside errors.",
    ),
    Setting(
        "CHARGEGRAPH_DOCUMENTS_DIR", "", "Folder of partners' trusted documents, `MODE/PARTNER/*.json`; empty: none."
    ),
    Setting(
        "CHARGEGRAPH_COMPRESSION", "on", "Whether larger answers are compressed for clients that ask for it: on or off."
    ),
    Setting("CHARGEGRAPH_MAX_BODY_BYTES", "262144", "Largest body of a request that is read."),
    Setting("CHARGEGRAPH_MAX_LIVE_RESERVATIONS", "500", "Most live reservations a partner may have at once."),
    Setting(
        "CHARGEGRAPH_QUOTAS",
        "NAVIGATION=2000000/s+6000000000/h,MAP=2000000/s+6000000000/h,FLEET=2000000/s+6000000000/h",
        "What partners may use, in costs of operations, by kind or by a partner's id; windows of `s`, "
        "`min`, `h` or `d` joined by `+`, or `off`; who is not named keeps the default. `off` alone: no quotas.",
    ),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, read and checked."""

    data_dir: Path
    station_index_urls: tuple[str, ...]
    station_index_prefix: str
    live_url: str | None
    reservations_url: str | None
    host: str
    port: int
    admin_host: str
    admin_port: int | None
    drain_s: int
    log_format: LogFormat
    access_log: bool
    traces_url: str | None
    traces_ratio: float
    feeds: tuple[str, ...]
    profiles_dir: Path | None
    inbound_path: str
    pages: bool
    compiled: bool
    statuses: Literal["2025", "2026"]
    documents_dir: Path | None
    compression: bool
    max_body_bytes: int
    max_live_reservations: int
    quotas: Mapping[str, tuple[tuple[int, int], ...]]
    """By kind and by partner: limits, each with its period in seconds."""

    @property
    def is_shared(self) -> bool:
        """Whether nothing is kept in this process: then there may be as many as are wanted, on many hosts."""
        return bool(self.station_index_urls and self.live_url and self.reservations_url)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings. Raises SettingsError that names the variable and what it may be."""
    known = {setting.name for setting in SETTINGS}
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            msg = f"{name} is not a setting; the settings are {', '.join(sorted(known))}"
            raise SettingsError(msg)
    values = {setting.name: environment.get(setting.name, setting.default).strip() for setting in SETTINGS}
    inbound_path = values["CHARGEGRAPH_INBOUND_PATH"].rstrip("/")
    if inbound_path and not inbound_path.startswith("/"):
        msg = f"CHARGEGRAPH_INBOUND_PATH is {inbound_path!r}; it must begin with a slash"
        raise SettingsError(msg)
    nodes = _urls("CHARGEGRAPH_STATION_INDEX_URL", values, "http", "https")
    return Settings(
        data_dir=Path(values["CHARGEGRAPH_DATA_DIR"]),
        station_index_urls=tuple(f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, nodes)),
        station_index_prefix=_index_prefix("CHARGEGRAPH_STATION_INDEX_URL", nodes),
        live_url=_url("CHARGEGRAPH_LIVE_URL", values),
        reservations_url=_url("CHARGEGRAPH_RESERVATIONS_URL", values),
        host=values["CHARGEGRAPH_HOST"],
        port=_whole_number("CHARGEGRAPH_PORT", values, 0, 65_535),
        admin_host=values["CHARGEGRAPH_ADMIN_HOST"],
        admin_port=_port_or_none("CHARGEGRAPH_ADMIN_PORT", values),
        drain_s=_whole_number("CHARGEGRAPH_DRAIN_S", values, 0, 600),
        log_format=_log_format("CHARGEGRAPH_LOG_FORMAT", values),
        access_log=_switch("CHARGEGRAPH_ACCESS_LOG", values),
        traces_url=_traces_url("CHARGEGRAPH_TRACES_URL", values),
        traces_ratio=_share("CHARGEGRAPH_TRACES_RATIO", values),
        feeds=tuple(name.strip() for name in values["CHARGEGRAPH_FEEDS"].split(",") if name.strip()),
        profiles_dir=_folder("CHARGEGRAPH_PROFILES_DIR", values),
        inbound_path=inbound_path,
        pages=_switch("CHARGEGRAPH_PAGES", values),
        compiled=_switch("CHARGEGRAPH_COMPILED", values),
        statuses=_statuses("CHARGEGRAPH_STATUSES", values),
        documents_dir=_folder("CHARGEGRAPH_DOCUMENTS_DIR", values),
        compression=_switch("CHARGEGRAPH_COMPRESSION", values),
        max_body_bytes=_whole_number("CHARGEGRAPH_MAX_BODY_BYTES", values, 1_024, 64 * 2**20),
        max_live_reservations=_whole_number("CHARGEGRAPH_MAX_LIVE_RESERVATIONS", values, 1, 1_000_000),
        quotas=_quotas("CHARGEGRAPH_QUOTAS", values),
    )


def _folder(name: str, values: Mapping[str, str]) -> Path | None:
    text = values[name]
    if text and not Path(text).is_dir():
        msg = f"{name} names {text!r}, which is not a folder"
        raise SettingsError(msg)
    return Path(text) if text else None


def _statuses(name: str, values: Mapping[str, str]) -> Literal["2025", "2026"]:
    match values[name]:
        case "2025" | "2026" as edition:
            return edition
        case other:
            msg = f"{name} is {other!r}; it must be 2025 or 2026"
            raise SettingsError(msg)


def _urls(name: str, values: Mapping[str, str], *schemes: str) -> tuple[str, ...]:
    urls = tuple(url.strip().rstrip("/") for url in values[name].split(",") if url.strip())
    for url in urls:
        if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            msg = f"{name} names an address that does not begin with {' or '.join(f'{each}://' for each in schemes)}"
            raise SettingsError(msg)
    return urls


def _index_prefix(name: str, nodes: tuple[str, ...]) -> str:
    prefixes = {urlsplit(node).path.strip("/") for node in nodes} - {""}
    if len(prefixes) > 1:
        msg = f"{name} has different paths: {', '.join(sorted(prefixes))}; the nodes are of one cluster"
        raise SettingsError(msg)
    prefix = prefixes.pop() if prefixes else DEFAULT_INDEX_PREFIX
    if not _INDEX_PREFIX.fullmatch(prefix):
        msg = f"{name} has the path {prefix!r}; indices' names hold small letters, digits and hyphens"
        raise SettingsError(msg)
    return prefix


def _url(name: str, values: Mapping[str, str]) -> str | None:
    urls = _urls(name, values, "redis", "rediss", "unix")
    if len(urls) > 1:
        msg = f"{name} names {len(urls)} servers; it must name one"
        raise SettingsError(msg)
    return urls[0] if urls else None


def _whole_number(name: str, values: Mapping[str, str], least: int, most: int) -> int:
    text = values[name]
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        msg = f"{name} is {text!r}; it must be a whole number from {least} to {most}"
        raise SettingsError(msg)
    return int(text)


def _quotas(name: str, values: Mapping[str, str]) -> dict[str, tuple[tuple[int, int], ...]]:
    if values[name].lower() == "off":
        return {}
    default = next(setting.default for setting in SETTINGS if setting.name == name)
    quotas: dict[str, tuple[tuple[int, int], ...]] = {}
    for entry in filter(None, map(str.strip, f"{default},{values[name]}".split(","))):
        whose, _, stated = (part.strip() for part in entry.partition("="))
        windows = [] if stated == "off" else [_WINDOW.fullmatch(window.strip()) for window in stated.split("+")]
        read = {_PERIODS_S[window[2]]: int(window[1]) for window in windows if window}
        if not whose or len(read) < len(windows):
            msg = f"{name} has {entry!r}; write it like FLEET=100000/s+9000000/h or partner-7=off"
            raise SettingsError(msg)
        quotas[whose] = tuple((limit, period_s) for period_s, limit in read.items())
    return quotas


def _port_or_none(name: str, values: Mapping[str, str]) -> int | None:
    return _whole_number(name, values, 0, 65_535) if values[name] else None


def _share(name: str, values: Mapping[str, str]) -> float:
    text = values[name]
    if not _SHARE.fullmatch(text) or float(text) > 1:
        msg = f"{name} is {text!r}; it must be a number from 0 to 1, such as 0.01"
        raise SettingsError(msg)
    return float(text)


def _log_format(name: str, values: Mapping[str, str]) -> LogFormat:
    match values[name].lower():
        case "text":
            return "text"
        case "json":
            return "json"
        case other:
            msg = f"{name} is {other!r}; it must be text or json"
            raise SettingsError(msg)


def _traces_url(name: str, values: Mapping[str, str]) -> str | None:
    urls = _urls(name, values, "http", "https")
    if len(urls) > 1:
        msg = f"{name} names {len(urls)} collectors; it must name one"
        raise SettingsError(msg)
    return urls[0] if urls else None


def _switch(name: str, values: Mapping[str, str]) -> bool:
    text = values[name].lower()
    if text not in {"on", "off"}:
        msg = f"{name} is {text!r}; it must be on or off"
        raise SettingsError(msg)
    return text == "on"
