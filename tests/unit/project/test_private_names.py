"""The private names of our dependencies are used in the listed places only, and the list can only become shorter."""

from __future__ import annotations

import ast
import inspect
import pydoc
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
CODE = ("shared", "edge", "workers", "coatcheck", "client/coatcheck_client", "bench")
LIBRARIES = ("kafka", "falcon", "uvicorn", "gunicorn", "prometheus_client", "httpx", "pymongo")
OUR_PACKAGES = ("shared", "edge", "workers", "coatcheck", "coatcheck_client", "bench")
STANDARD = {"os._exit"}
"""Public, whatever its name looks like."""

ALLOWED: dict[str, dict[str, set[str]]] = {"uvicorn": {"edge/server/http_protocol.py": {"_start_asgi_task"}}}
"""By library and file: the private names that are still used there. Delete entries, add none."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def library(module: str) -> str:
    return module.partition(".")[0]


def imported(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Each import as (name in the file, module, name in the module or nothing)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or library(alias.name), alias.name if alias.asname else library(alias.name), ""


def private_imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for _, module, name in imported(tree):
        if library(module) in LIBRARIES and any(map(is_private, [*module.split("."), name])):
            yield library(module), f"{module}.{name}".rstrip(".")


def private_attributes(tree: ast.AST) -> Iterator[str]:
    """Names such as `response._headers`: a private attribute of anything but the object itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            of = ast.unparse(node.value)
            if of not in ("self", "cls", "super()") and f"{of}.{node.attr}" not in STANDARD:
                yield node.attr


def bases(tree: ast.Module) -> Iterator[tuple[ast.ClassDef, list[type]]]:
    """Each class of a file with those of its ancestors that come from the libraries."""
    names = {name: (module, attribute) for name, module, attribute in imported(tree)}
    found: dict[str, list[type]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found[node.name] = [of for base in node.bases for of in ancestors(ast.unparse(base), names, found)]
            yield node, found[node.name]


def ancestors(base: str, names: dict[str, tuple[str, str]], known: dict[str, list[type]]) -> list[type]:
    """The classes of the libraries behind an expression such as `falcon.asgi.Request`."""
    first, *rest = base.partition("[")[0].split(".")
    if first not in names:
        return known.get(first, [])
    module, attribute = names[first]
    if library(module) not in (*LIBRARIES, *OUR_PACKAGES):
        return []
    found: Any = pydoc.locate(".".join(filter(None, [module, attribute, *rest])))
    return [each for each in getattr(found, "__mro__", ()) if library(each.__module__) in LIBRARIES]


@cache
def private_names(of: type) -> set[str]:
    """The private methods of a class, and the private attributes of `self` in the file that defines it."""
    source = Path(inspect.getfile(of)).read_text()
    return {name for name in {*vars(of), *re.findall(r"\bself\.(_\w+)", source)} if is_private(name)}


def private_inheritance(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a subclass of a library's class overrides or uses of its private parts."""
    for node, classes in bases(tree):
        used = {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
        used |= {part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
        for of in classes:
            for name in used & private_names(of):
                yield library(of.__module__), name


def uses(source: str) -> set[tuple[str, str]]:
    """The private names that a file uses, each with its library."""
    tree = ast.parse(source)
    here = [library(module) for _, module, _ in imported(tree) if library(module) in LIBRARIES]
    # Whose attribute it is cannot be told from the text: it counts for the library that the file imports.
    attributes = {(here[0] if here else "?", name) for name in private_attributes(tree)}
    return {*private_imports(tree), *attributes, *private_inheritance(tree)}


def found_in_the_code() -> dict[str, dict[str, set[str]]]:
    found: dict[str, dict[str, set[str]]] = {}
    for path in sorted(file for folder in CODE for file in (ROOT / folder).rglob("*.py")):
        for of, name in uses(path.read_text()):
            found.setdefault(of, {}).setdefault(str(path.relative_to(ROOT)), set()).add(name)
    return found


def test_private_names_of_dependencies_are_used_in_the_listed_places_only() -> None:
    found = found_in_the_code()
    new = {
        (of, file, name)
        for of, files in found.items()
        for file, names in files.items()
        for name in names - ALLOWED.get(of, {}).get(file, set())
    }
    assert not new, "private names of a library: do without, an upgrade may change them at any time"
    gone = {
        (of, file, name)
        for of, files in ALLOWED.items()
        for file, names in files.items()
        for name in names - found.get(of, {}).get(file, set())
    }
    assert not gone, "these are used no more: delete them from ALLOWED"


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("from uvicorn._types import HTTPScope", {("uvicorn", "uvicorn._types.HTTPScope")}),
        ("import kafka\nkafka.KafkaConsumer()._fetcher.config", {("kafka", "_fetcher")}),
        (
            "from kafka.consumer.fetcher import Fetcher\nclass Mine(Fetcher):\n def _handle_fetch_error(self): pass",
            {("kafka", "_handle_fetch_error")},
        ),
        (
            "import falcon.asgi\nclass Mine(falcon.asgi.Request):\n def stream(self): return self._receive",
            {("falcon", "_receive")},
        ),
        (
            "from shared.kafka.patched_client import PatchedClient\nclass Mine(PatchedClient):\n"
            " def look(self): return super()._manager",
            {("kafka", "_manager")},
        ),
        ("import httpx\nclass Mine:\n def _own(self): return self._own, self.__dict__", set()),
    ],
)
def test_each_way_to_use_a_private_name_is_seen(source: str, used: set[tuple[str, str]]) -> None:
    assert uses(source) == used
