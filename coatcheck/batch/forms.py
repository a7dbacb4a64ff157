"""Files inside a batch line: endpoints that take a form get them as data URLs, or from a folder that was allowed."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from coatcheck_client import FileSource

_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")

FILE_FIELDS = frozenset({"file", "image", "image[]", "mask"})


def split_form(body: dict[str, Any], root: Path | None) -> tuple[dict[str, Any], dict[str, FileSource]]:
    """Fields and files of a form. `@name` is read below `root`; `ValueError` says what is wrong."""
    fields = {name: value for name, value in body.items() if name not in FILE_FIELDS}
    files: dict[str, FileSource] = {}
    for name in body.keys() & FILE_FIELDS:
        values = body[name] if isinstance(body[name], list) else [body[name]]
        files[name] = [_file(name, value, root) for value in values]
    return fields, files


def _file(name: str, value: object, root: Path | None) -> FileSource:
    if isinstance(value, str) and value.startswith("data:"):
        return _from_data_url(name, value)
    if isinstance(value, str) and value.startswith("@"):
        return _below(value[1:], root)
    raise ValueError(f"body.{name} must be a data URL, or @NAME of a file in the folder given with --files")


def _from_data_url(name: str, url: str) -> FileSource:
    head, comma, data = url.removeprefix("data:").partition(",")
    media_type = head.removesuffix(";base64").partition(";")[0]
    if not comma or not head.endswith(";base64") or not _MEDIA_TYPE.fullmatch(media_type):
        raise ValueError(f"body.{name} must be a data URL with base64, like data:audio/wav;base64,UklGRg==")
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError(f"body.{name} is not base64: {error}") from None
    return f"{name.removesuffix('[]')}.{_extension(media_type)}", content, media_type


def _extension(media_type: str) -> str:
    """What providers tell formats by. Not from the system's tables: the same line must be the same form everywhere."""
    subtype = media_type.partition("/")[2].removeprefix("x-")
    return {"mpeg": "mp3", "octet-stream": "bin"}.get(subtype, subtype)


def _below(relative: str, root: Path | None) -> Path:
    """A batch file may come from anywhere, so it reads only what its user has allowed."""
    if root is None:
        raise ValueError(f"@{relative} is a file: name the folder it may be read from with --files")
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"@{relative} is outside of {root}")
    if not path.is_file():
        raise ValueError(f"@{relative} is not a file in {root}")
    return path
