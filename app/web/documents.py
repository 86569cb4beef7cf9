"""Documents that need not be sent whole: those that a partner handed over beforehand, and those of Apollo's clients.

A partner's *trusted documents* are the manifests that its build tools wrote, unchanged, in
``DIR/MODE/PARTNER/*.json``, where MODE is what happens to other documents of that partner: ``off`` nothing, ``log``
they are counted and told, ``enforce`` they are refused. *Automatic persisted queries* are registered by clients
themselves, under the SHA-256 of their text, and forgotten when there are too many: the client sends the text again.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from app.errors import SettingsError
from app.web.graphql_request import UNPROCESSABLE, GraphQLRequest, RefusedError
from schema.engine import Answer, Engine
from schema.errors import ErrorCode

MAX_REGISTERED_BYTES = 8 * 2**20
"""How much text of documents that clients registered is kept in a process."""

MAX_OTHERS_COUNTED = 10_000
MAX_ID_CHARACTERS = 200
_APOLLO = "apollo-persisted-query-manifest"
_PREFIX = "sha256:"
_EACH_DOCUMENT_KEPT_BYTES = 300  # its key and its place

logger = logging.getLogger("chargegraph.documents")


class Mode(Enum):
    """What happens to a document of a partner that is not in its manifests."""

    OFF = "off"
    LOG = "log"
    ENFORCE = "enforce"


class TrustedDocuments(msgspec.Struct, frozen=True):
    """A partner's documents: by the ids of its manifests and by ``sha256:…``, and all their texts."""

    mode: Mode
    by_id: Mapping[str, str]
    texts: frozenset[str]


class _Apollo(msgspec.Struct, frozen=True):
    format: str
    version: int
    operations: list["_Operation"]


class _Operation(msgspec.Struct, frozen=True):
    id: str
    body: str


def read_manifests(folder: Path, engine: Engine) -> dict[str, TrustedDocuments]:
    """Return the trusted documents of each partner that has some.

    Raises SettingsError that names the file, and the document that the engine would refuse.
    """
    found: dict[str, tuple[Mode, dict[str, str]]] = {}
    for mode_folder in _entries(folder):
        if mode_folder.name not in {mode.value for mode in Mode} or not mode_folder.is_dir():
            raise SettingsError(f"{mode_folder}: here are only folders named off, log or enforce")
        for partner_folder in _entries(mode_folder):
            if not partner_folder.is_dir():
                raise SettingsError(f"{partner_folder}: here are only folders, one a partner, of manifests")
            mode, by_id = found.setdefault(partner_folder.name, (Mode(mode_folder.name), {}))
            if mode.value != mode_folder.name:
                raise SettingsError(f"{partner_folder}: this partner is in {mode.value}, too; one of them is wrong")
            for path in _entries(partner_folder):
                _add(by_id, path, engine)
    return {partner: _trusted(mode, by_id) for partner, (mode, by_id) in found.items()}


def _trusted(mode: Mode, by_id: Mapping[str, str]) -> TrustedDocuments:
    by_hash = {_PREFIX + _hash_of(text): text for text in by_id.values()}
    return TrustedDocuments(mode, {**by_hash, **by_id}, frozenset(by_id.values()))


class Documents:
    """Finds the document of a request, and decides whether the partner may send it. One for a process."""

    def __init__(
        self, trusted: Mapping[str, TrustedDocuments], max_registered_bytes: int = MAX_REGISTERED_BYTES
    ) -> None:
        """Take the trusted documents by partner."""
        self._trusted = trusted
        self._max_registered_bytes = max_registered_bytes
        self._registered: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._registered_bytes = 0
        self._others: OrderedDict[tuple[str, str], int] = OrderedDict()

    def find(self, partner_id: str, request: GraphQLRequest) -> str:
        """Return the text of the document that a partner's request asks for. Raises RefusedError."""
        text = request.query
        if text is None or request.documentId is not None:
            text = self._find_by_id(partner_id, request)
        elif request.extensions and (stated := _stated_hash(request.extensions)) and stated != _hash_of(text):
            raise RefusedError(400, "provided sha does not match query", ErrorCode.PERSISTED_QUERY_HASH_MISMATCH)
        trusted = self._trusted.get(partner_id)
        if trusted is not None and trusted.mode is not Mode.OFF and text not in trusted.texts:
            self._judge(trusted.mode, partner_id, text)
        return text

    def register(self, partner_id: str, request: GraphQLRequest) -> None:
        """Remember the document of a request, which is good, if the client wants to send its hash alone next time."""
        text = request.query
        if text is None or not request.extensions or (stated := _stated_hash(request.extensions)) is None:
            return
        key = partner_id, _PREFIX + stated
        if key not in self._registered:
            self._registered[key] = text
            self._registered_bytes += _size_of(text)
        self._registered.move_to_end(key)
        while self._registered_bytes > self._max_registered_bytes:
            _, forgotten = self._registered.popitem(last=False)
            self._registered_bytes -= _size_of(forgotten)

    def _find_by_id(self, partner_id: str, request: GraphQLRequest) -> str:
        if request.query is not None:
            raise RefusedError(UNPROCESSABLE, "query and documentId: give one of them")
        names: tuple[str, ...]
        if request.documentId is not None:
            names = (request.documentId,)
        elif request.extensions and (stated := _stated_hash(request.extensions)):
            names = (_PREFIX + stated, stated)
        else:
            problem = "there is no document: give query, or documentId, or extensions.persistedQuery"
            raise RefusedError(UNPROCESSABLE, problem)
        trusted = self._trusted.get(partner_id)
        for name in names:
            if trusted is not None and name in trusted.by_id:
                return trusted.by_id[name]
            if (partner_id, name) in self._registered:
                self._registered.move_to_end((partner_id, name))
                return self._registered[partner_id, name]
        if request.documentId is None:
            # Apollo's clients know this message and this code, and answer with the text.
            raise UnknownDocumentError("PersistedQueryNotFound", ErrorCode.PERSISTED_QUERY_NOT_FOUND)
        raise UnknownDocumentError(
            "documentId: there is no such document here; send its text, or have it added to your manifest",
            ErrorCode.DOCUMENT_NOT_FOUND,
        )

    def _judge(self, mode: Mode, partner_id: str, text: str) -> None:
        """Count a document that is not trusted; tell of it when it is new and at each tenfold; refuse it, or not."""
        key = partner_id, _hash_of(text)
        count = self._others.pop(key, 0) + 1
        self._others[key] = count
        if len(self._others) > MAX_OTHERS_COUNTED:
            self._others.popitem(last=False)
        if str(count).strip("0") == "1":
            verdict = "refused" if mode is Mode.ENFORCE else "let through"
            logger.warning(
                "a document of %s is not trusted, %s %d times: sha256:%s", partner_id, verdict, count, key[1]
            )
        if mode is Mode.ENFORCE:
            raise RefusedError(
                403,
                "this document is not one of your trusted documents; have it added to your manifest",
                ErrorCode.DOCUMENT_NOT_TRUSTED,
            )


class UnknownDocumentError(RefusedError):
    """There is no document of that id or hash: a well-formed request, which older clients expect to be a 200."""

    def __init__(self, message: str, code: ErrorCode) -> None:
        """Say which."""
        super().__init__(404, message, code)


def _stated_hash(extensions: Mapping[str, Any]) -> str | None:
    """Return the hash that Apollo's clients send for a document; None when it is not their request."""
    stated = extensions.get("persistedQuery")
    if stated is None:
        return None
    if not isinstance(stated, dict) or stated.get("version") != 1:
        raise RefusedError(UNPROCESSABLE, "extensions.persistedQuery: an object of version 1 is known here")
    hash_ = stated.get("sha256Hash")
    if not isinstance(hash_, str) or not 0 < len(hash_) <= MAX_ID_CHARACTERS:
        raise RefusedError(UNPROCESSABLE, "extensions.persistedQuery.sha256Hash: the SHA-256 of query in hexadecimal")
    return hash_


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, but for hidden files, which editors and mounted volumes leave."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _add(texts: dict[str, str], path: Path, engine: Engine) -> None:
    for id_, text in _read(path):
        if not 0 < len(id_) <= MAX_ID_CHARACTERS:
            raise SettingsError(
                f"{path}: the id {id_[:MAX_ID_CHARACTERS]!r} is not of 1 to {MAX_ID_CHARACTERS} letters"
            )
        if id_.startswith(_PREFIX) and id_ != _PREFIX + _hash_of(text):
            raise SettingsError(f"{path}: {id_} is not the SHA-256 of its document")
        if texts.setdefault(id_, text) != text:
            raise SettingsError(f"{path}: {id_} is another document in another file of this partner")
        plan = engine.plan(text, may_introspect=True)  # whoever runs the hub hears why
        if isinstance(plan, Answer):
            raise SettingsError(f"{path}: {id_}: {plan.body['errors'][0]['message']}")


def _read(path: Path) -> list[tuple[str, str]]:
    """Return ids and documents: of Apollo's form, or of Relay's and graphql-codegen's, which is one plain object."""
    try:
        content = path.read_bytes()
        members = msgspec.json.decode(content, type=dict[str, Any])
        if "format" in members and "operations" in members:
            manifest = msgspec.json.decode(content, type=_Apollo)
            if (manifest.format, manifest.version) != (_APOLLO, 1):
                raise SettingsError(f"{path}: {manifest.format} {manifest.version} is not {_APOLLO} 1")
            return [(operation.id, operation.body) for operation in manifest.operations]
        return list(msgspec.convert(members, dict[str, str]).items())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise SettingsError(f"{path}: neither an object of ids and documents nor {_APOLLO}: {error}") from None


def _hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _size_of(text: str) -> int:
    return len(text.encode()) + _EACH_DOCUMENT_KEPT_BYTES
