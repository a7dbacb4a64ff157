"""GET /openapi.json and /docs, a page made from that document: no script, nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

import msgspec
from falcon.asgi import Request, Response

from edge.api.openapi import document
from edge.ingress.forwarded import TrustedProxies

Json = dict[str, Any]

_ORIGIN = b"http://localhost:8080"
"""Stands for the address under which the page is read."""
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


class FixedResource:
    """Answers every GET with the same bytes."""

    def __init__(
        self, data: bytes, content_type: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self._data = data
        self._content_type = content_type
        self._headers = headers or {}

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.content_type = self._content_type
        resp.set_headers(self._headers)
        resp.data = self._data

    on_head = on_get


class _PageResource(FixedResource):
    """The page for people, with the address under which it was asked for, unless that is none."""

    def __init__(self, html: bytes, policy: str, proxies: TrustedProxies) -> None:
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Vary": "Host, X-Forwarded-Proto",
        }
        super().__init__(html, "text/html; charset=utf-8", headers)
        self._proxies = proxies

    async def on_get(self, req: Request, resp: Response) -> None:
        await super().on_get(req, resp)
        if _HOST.fullmatch(host := req.get_header("Host") or ""):
            resp.data = self._data.replace(_ORIGIN, f"{self._proxies.scheme(req.scope)}://{host}".encode())

    on_head = on_get


def documentation(version: str, proxies: TrustedProxies) -> dict[str, FixedResource]:
    described = document(version)
    return {
        "/openapi.json": FixedResource(msgspec.json.encode(described)),
        "/docs": _PageResource(*page(described), proxies),
    }


def page(document: Json) -> tuple[bytes, str]:
    """The page and the Content-Security-Policy that it keeps."""
    folder = resources.files("edge.api")
    style = folder.joinpath("docs.css").read_text()
    html = Template(folder.joinpath("docs.html").read_text()).substitute(
        title=escape(document["info"]["title"]),
        version=escape(document["info"]["version"]),
        description=escape(document["info"]["description"]),
        style=style,
        origin=_ORIGIN.decode(),
        sections="\n".join(_section(tag, document) for tag in document["tags"]),
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html.encode(), policy


def _section(tag: Json, document: Json) -> str:
    operations = [
        _operation(method, path, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters" and tag["name"] in operation["tags"]
    ]
    title = f"<h2>{escape(tag['name'])} <small>{escape(tag['description'])}</small></h2>"
    return "\n".join(["<section>", title, *operations, "</section>"])


def _operation(method: str, path: str, operation: Json, document: Json) -> str:
    answers = [(status, answer["description"]) for status, answer in operation["responses"].items()]
    headers = [(each["name"], each.get("description", "")) for each in operation.get("parameters", ())]
    parts = [
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"<span>{escape(operation['summary'])}</span></summary>",
        _table(("Field", "Type", ""), _fields(operation, document)),
        _table(("Header or parameter", ""), headers),
        _table(("Answer", ""), answers),
        "</details>",
    ]
    return "\n".join(filter(None, parts))


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "\n".join(_row(row) for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _row(cells: tuple[str, ...]) -> str:
    first, *others = cells
    cells_behind = "".join(f"<td>{escape(cell)}</td>" for cell in others)
    return f"<tr><td><code>{escape(first)}</code></td>{cells_behind}</tr>"


def _fields(operation: Json, document: Json) -> list[tuple[str, ...]]:
    """Name, type and whether it is required, of each field of the body; required ones first."""
    content: Json = operation.get("requestBody", {}).get("content", {})
    if not content:
        return []
    schema = _resolved(next(iter(content.values()))["schema"], document)
    required = schema.get("required", [])
    names = sorted(schema["properties"], key=lambda name: (name not in required, name != "model"))
    return [(name, _type(schema["properties"][name]), "required" if name in required else "") for name in names]


def _resolved(schema: Json, document: Json) -> Json:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Json = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _type(schema: Json) -> str:
    """A schema in a few words."""
    if options := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_type(option) for option in options if option != {"type": "null"}))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].lower()
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "contentMediaType" in schema:
        return "file"
    if "enum" in schema:
        return " or ".join("null" if each is None else str(each).lower() for each in schema["enum"])
    return str(schema.get("type", "any"))
