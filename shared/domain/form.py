"""multipart/form-data bodies. Names and types of parts are kept, and written back, as they stand in the headers."""

import re
import secrets
from collections.abc import Iterable

import msgspec
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

# The closing quote is the one before ";" or the end: browsers leave a backslash alone, others use it to escape.
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"(.*?)"(?=\s*(?:;|$))|([^";\s]+))\s*')
_QUOTE_THAT_ENDS_A_NAME = re.compile(r'(?<!\\)"|"(?=\s*(?:;|$))')
_LINE_BREAKS = str.maketrans({"\r": "%0D", "\n": "%0A"})
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046


class FormError(ValueError):
    """The body is no form that this service takes: it is malformed, or a part is `too_large`."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.too_large = too_large


class Part(msgspec.Struct, frozen=True):
    """One part of a form; a part with a file name is a file, every other one is a text field."""

    name: str
    filename: str | None
    content_type: str | None
    data: bytes

    @property
    def text(self) -> str:
        """The value of a text field. Raises FormError when it is not UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise FormError(f"field '{self.name}': expected UTF-8 text") from None

    def __repr__(self) -> str:
        """Name and size only: values are the client's property."""
        return f"Part({self.name!r}, file={self.filename is not None}, bytes={len(self.data)})"


class Form(msgspec.Struct, frozen=True):
    parts: list[Part]

    def text(self, name: str) -> str | None:
        return next(iter(self.texts(name)), None)

    def texts(self, name: str) -> list[str]:
        """All text fields of this name, in order. Raises FormError when one is not UTF-8."""
        return [part.text for part in self.parts if part.name == name and part.filename is None]

    def files(self, name: str) -> list[Part]:
        return [part for part in self.parts if part.name == name and part.filename is not None]


def parse_form(
    body: bytes,
    content_type: str,
    *,
    max_parts: int = 64,
    max_text_bytes: int = 1 << 20,
    max_file_bytes: int = 64 << 20,
    max_header_bytes: int = 8192,
) -> Form:
    """Raises FormError for anything but a whole, well-formed form within the bounds, the last one for a header line."""
    parser = PushMultipartParser(
        _boundary(content_type), max_segment_count=max_parts, max_header_size=max_header_bytes, strict=True
    )
    parts: list[Part] = []
    data: list[bytes] = []
    segment: MultipartSegment | None = None
    try:
        with parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    segment, data = event, []
                elif event is not None:
                    data.append(event)
                elif segment is not None:
                    parts.append(_part(segment, b"".join(data), max_text_bytes, max_file_bytes))
    except ParserLimitReached as error:
        raise FormError(f"multipart form: {error} ({max_parts} parts, {max_header_bytes} bytes per header)") from None
    except MultipartError as error:
        raise FormError(f"multipart form: {error.args[0]}") from None
    return Form(parts)


def encode_form(parts: Iterable[Part]) -> tuple[str, bytes]:
    boundary = secrets.token_hex(16)  # random, so that no data can contain it on purpose
    lines: list[bytes] = []
    for part in parts:
        lines += [b"--" + boundary.encode(), _part_headers(part), b"", part.data]
    lines += [b"--" + boundary.encode() + b"--", b""]
    return f"multipart/form-data; boundary={boundary}", b"\r\n".join(lines)


def _boundary(content_type: str) -> str:
    media_type, parameters = parse_options_header(content_type)
    if media_type != "multipart/form-data":
        raise FormError(f"expected Content-Type multipart/form-data, got {media_type[:100]!r}")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise FormError("multipart form: the Content-Type header needs a boundary of 1 to 70 characters")
    return str(boundary)


def _part(segment: MultipartSegment, data: bytes, max_text_bytes: int, max_file_bytes: int) -> Part:
    name, filename = _names(segment.header("Content-Disposition", ""))
    encoding = segment.header("Content-Transfer-Encoding", "").strip().lower()
    if encoding not in ("", "7bit", "8bit", "binary"):
        raise FormError(f"field {name!r}: Content-Transfer-Encoding {encoding[:40]!r} is not supported, send raw bytes")
    limit = max_text_bytes if filename is None else max_file_bytes
    if len(data) > limit:
        raise FormError(f"field {name!r}: {len(data)} bytes, at most {limit} are taken", too_large=True)
    return Part(name, filename, segment.header("Content-Type"), data)


def _names(disposition: str) -> tuple[str, str | None]:
    found: dict[str, str] = {}
    position = len("form-data")
    while position < len(disposition):
        # Matched one after the other, never searched for: a search over a hostile header takes quadratic time.
        match = _PARAMETER.match(disposition, position)
        if match is None or match[1].lower() in found:
            raise FormError("multipart form: a part has a malformed Content-Disposition header")
        found[match[1].lower()] = match[2] if match[3] is None else match[3]
        position = match.end()
    if not found.get("name"):
        raise FormError("multipart form: a part has no name")
    return found["name"], found.get("filename")


def _part_headers(part: Part) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{_header_text(part.name)}"'
    if part.filename is not None:
        disposition += f'; filename="{_header_text(part.filename)}"'
    if part.content_type is not None:
        disposition += f"\r\nContent-Type: {part.content_type.translate(_LINE_BREAKS)}"
    return disposition.encode()


def _header_text(value: str) -> str:
    return _QUOTE_THAT_ENDS_A_NAME.sub("%22", value.translate(_LINE_BREAKS))
