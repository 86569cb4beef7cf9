"""Feed profiles: one TOML file names a feed, its kind, and all that its operator and we agreed on.

The feed's name is the file's. A file in a further folder wins over ours of the same name; a name that begins with an
underscore is a blueprint and never loaded. ``${NAME}`` inside any text is replaced from the environment, so that no
secret stands in a file.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from app.errors import SettingsError

SHIPPED: Final = Path(__file__).resolve().parent
"""Where our own profiles are."""

Profile = dict[str, Any]
_Table = TypeVar("_Table", bound=msgspec.Struct)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(?P<key>.*?)`(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)
_MISSING_KEY = re.compile(r"Object missing required field `(?P<key>.*?)`(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)
_ELSEWHERE = re.compile(r"(?P<problem>.*) - at `(?P<path>[^`]*)`", re.DOTALL)


def list_profiles(directories: Sequence[Path] = ()) -> list[str]:
    """Return the names of all profiles in the further folders and in ours, sorted."""
    folders = (*directories, SHIPPED)
    return sorted({path.stem for folder in folders for path in folder.glob("*.toml") if _NAME.fullmatch(path.stem)})


def load_profiles(
    names: Sequence[str], directories: Sequence[Path], environment: Mapping[str, str]
) -> list[tuple[str, Profile]]:
    """Return the profiles asked for, in their order, as (name, table) with variables replaced and ``kind`` present.

    ``directories`` are searched before our own folder. Raises SettingsError that names the file and the key: for an
    unknown or repeated name, a file that is no TOML, a missing ``kind``, and a variable that is not set or empty.
    """
    if len(set(names)) != len(names):
        raise SettingsError(f"a feed is named twice: {', '.join(names)}")
    return [(name, _load(name, directories, environment)) for name in names]


def read_profile(name: str, table: Profile, kind: type[_Table]) -> _Table:
    """Return the table as the kind's own frozen Struct, strictly. TOML has no null: an interval that is off is "off".

    Raises SettingsError that names the profile, the key and, for a key that is not known, those that are.
    """
    schedule = table.get("schedule")
    if isinstance(schedule, dict):
        table = {**table, "schedule": {key: None if value == "off" else value for key, value in schedule.items()}}
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(f"profile {name}: {_problem(str(error), kind)}") from error


def check_url(name: str, key: str, url: str) -> str:
    """Return the address without a final slash. Raises SettingsError where it is not one of http or https."""
    try:
        parts = urlsplit(url)
        port_is_read = parts.port is None or parts.port > 0
    except ValueError as error:
        raise SettingsError(f"profile {name}: {key} is not an address: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_read or url.split() != [url]:
        raise SettingsError(f"profile {name}: {key} is {url[:200]!r}; it must be http://… or https://…")
    return url.rstrip("/")


def _load(name: str, directories: Sequence[Path], environment: Mapping[str, str]) -> Profile:
    path = None
    if _NAME.fullmatch(name):
        candidates = (folder / f"{name}.toml" for folder in (*directories, SHIPPED))
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        known = ", ".join(list_profiles(directories))
        raise SettingsError(f"there is no feed profile {name!r} (no {name}.toml); the profiles are {known}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(table.get("kind"), str):
        raise SettingsError(f'{path.name}: kind is missing; it names the protocol, as in kind = "cec102"')
    return {key: _filled(value, path.name, key, environment) for key, value in table.items()}


def _filled(value: Any, file: str, key: str, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {inner: _filled(item, file, f"{key}.{inner}", environment) for inner, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, file, f"{key}[{index}]", environment) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        variable = match.group(1)
        if not _VARIABLE_NAME.fullmatch(variable):
            raise SettingsError(f"{file}: {key} asks for ${{{variable}}}, which is no name of a variable")
        if not environment.get(variable):
            raise SettingsError(f"{file}: {key} needs the environment variable {variable}, which is not set")
        return environment[variable]

    return _VARIABLE.sub(fill, value)


def _problem(message: str, kind: type[msgspec.Struct]) -> str:
    if match := _UNKNOWN_KEY.fullmatch(message):
        known = ", ".join(_known_keys(kind, match["path"]))
        return f"{_dotted(match['path'], match['key'])} is not a key; the keys there are {known}"
    if match := _MISSING_KEY.fullmatch(message):
        return f"{_dotted(match['path'], match['key'])} is missing"
    if match := _ELSEWHERE.fullmatch(message):
        return f"{_dotted(match['path'])}: {match['problem']}"
    return message


def _dotted(path: str | None, key: str = "") -> str:
    return ".".join(part for part in ((path or "").removeprefix("$").strip("."), key) if part)


def _known_keys(kind: type[msgspec.Struct], path: str | None) -> list[str]:
    """Return the keys of the table at ``$.a.b``."""
    at = kind
    for part in _dotted(path).split("."):
        if part:
            hint = msgspec.inspect.type_info(at)
            assert isinstance(hint, msgspec.inspect.StructType)
            inner = next(field.type for field in hint.fields if field.encode_name == part)
            at = next(choice.cls for choice in _choices(inner) if isinstance(choice, msgspec.inspect.StructType))
    return sorted(field.encode_name for field in msgspec.structs.fields(at))


def _choices(hint: msgspec.inspect.Type) -> Sequence[msgspec.inspect.Type]:
    return hint.types if isinstance(hint, msgspec.inspect.UnionType) else (hint,)
