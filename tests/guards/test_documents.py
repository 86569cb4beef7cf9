"""Documentation that cannot rot: the settings, commands and queries of the documents are those of the program."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from graphql import parse, print_ast, validate

_DOCUMENTS = ("README.md", "CONTRIBUTING.md")


def _text(repository: Path, document: str) -> str:
    return (repository / document).read_text(encoding="utf-8")


def _commands(repository: Path, document: str, command: str) -> set[str]:
    """The words after a command, wherever the document has it in code, up to the first that is no plain word."""
    text = _text(repository, document)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    code = [block for language, block in blocks if language in {"", "bash", "console", "sh", "shell", "text"}]
    code += re.findall(r"`([^`\n]+)`", text)
    return {
        found.strip()
        for block in code
        for found in re.findall(
            rf"(?:^|[$ /;&|]){re.escape(command)}((?: +[a-z][a-z_-]*(?![\w./=|-]))+)", block, re.MULTILINE
        )
    }


def test_every_setting_is_explained_in_the_readme(repository: Path) -> None:
    from app.settings import SETTINGS

    readme = _text(repository, "README.md")
    assert not [setting.name for setting in SETTINGS if f"`{setting.name}`" not in readme]


def test_the_readme_explains_no_setting_that_does_not_exist(repository: Path) -> None:
    from app.settings import PREFIX, SETTINGS

    names = {setting.name for setting in SETTINGS}
    assert set(re.findall(rf"`({PREFIX}[A-Z0-9_]+)`", _text(repository, "README.md"))) <= names


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_every_make_target_of_the_documents_exists(repository: Path, document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", _text(repository, "Makefile"), re.MULTILINE))
    named = {words.split()[0] for words in _commands(repository, document, "make")}
    assert named, f"{document} names no make target"
    assert named <= targets


def test_every_command_of_the_documents_exists(repository: Path) -> None:
    named = {words for document in _DOCUMENTS for words in _commands(repository, document, "-m app")}
    assert named, "the README names no command"
    failed = {}
    for words in sorted(named):
        finished = subprocess.run(
            [sys.executable, "-m", "app", *shlex.split(words), "--help"],
            cwd=repository,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        if finished.returncode:
            failed[words] = finished.stderr
    assert not failed


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_every_query_of_the_documents_is_valid(repository: Path, document: str) -> None:
    from schema.root import schema

    queries = re.findall(r"^```graphql\n(.*?)^```", _text(repository, document), re.MULTILINE | re.DOTALL)
    if document == "README.md":
        assert queries, "the README shows no query"
    assert {query: errors for query in queries if (errors := validate(schema._schema, parse(query)))} == {}


def test_every_query_of_the_readme_is_answered_as_a_golden_one(repository: Path) -> None:
    folders = [repository / "tests" / "golden" / name for name in ("queries", "subscriptions")]
    golden = {print_ast(parse(path.read_text())) for folder in folders for path in folder.glob("*.graphql")}
    queries = re.findall(r"^```graphql\n(.*?)^```", _text(repository, "README.md"), re.MULTILINE | re.DOTALL)
    assert not [query for query in queries if print_ast(parse(query)) not in golden]


@pytest.mark.parametrize("document", [*_DOCUMENTS, "DECISIONS.md", "CHANGELOG.md"])
def test_every_file_that_a_document_links_to_exists(repository: Path, document: str) -> None:
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)[^)]*\)", _text(repository, document))
    assert not [link for link in links if not (repository / link).exists()]
