"""Request bodies: bytes in, a validated request out, or a 400 that names field, expectation and what came.

Of duplicate keys of a JSON object the last one counts, as for readers of the stored bytes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from edge.http.errors import TooLarge
from edge.submit.decode_errors import syntax_problem, type_problem
from edge.submit.idempotency import body_digest
from shared.domain.catalogue import Endpoint
from shared.domain.content import Content
from shared.domain.errors import BadRequest, UnsupportedBody
from shared.domain.form import Form, FormError, parse_form
from shared.domain.form_schema import FormSchema
from shared.domain.schemas import JsonBody, Object
from shared.domain.target import Target
from shared.providers.config import ProviderConfig
from shared.providers.local_models import not_for
from shared.providers.model_names import ModelError, parse_fallbacks, split_model

LARGE_BODY = 256 * 1024
"""Bodies above this many bytes are read in a thread, one at a time."""

MAX_VALUES = 1_000_000
"""Values a large JSON body may hold: a cheap bound on what decoding takes, which stops the whole process."""
MAX_MODEL_CHARACTERS = 256
MISSING = "missing_required_parameter"
UNKNOWN_MODEL = "model_not_found"

_any = msgspec.json.Decoder()
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A string, or what is left of one that does not end: no byte is looked at twice."""
_OPENINGS = bytes.maketrans(b"[{", b",,")


class ParsedRequest(msgspec.Struct, frozen=True):
    targets: tuple[Target, ...]
    content: Content
    digest: bytes | None
    """What the body says; only made when asked for."""
    background: bool | None = None
    """The drop-in routes' wish for a job, taken out of the body."""


Parse = Callable[[bytes, str, bool], ParsedRequest]
"""From a body, its Content-Type and whether a digest is wanted to a request. Raises a Refusal."""


@dataclass(frozen=True, slots=True)
class BodyReader:
    """Reads the bodies of one endpoint, large ones one at a time, so that they do not hold up what is beside them."""

    parse: Parse
    large: asyncio.Semaphore

    async def read(self, data: bytes, content_type: str, *, digest: bool) -> ParsedRequest:
        """Decode and validate. Raises a Refusal."""
        if len(data) <= LARGE_BODY:
            return self.parse(data, content_type, digest)
        async with self.large:
            return await asyncio.to_thread(self.parse, data, content_type, digest)


def parser(
    endpoint: Endpoint,
    providers: Mapping[str, ProviderConfig],
    default_provider: str,
    max_bytes: int,
    *,
    takes_background: bool = False,
) -> Parse:
    """The parser of one endpoint. `takes_background`: that field is for us and not for the provider."""
    models = _Models(providers, default_provider, endpoint.request_type)
    if endpoint.form is not None:
        return _FormParser(endpoint, endpoint.form, models, max_bytes)
    assert endpoint.json is not None
    return _JsonParser(endpoint, msgspec.json.Decoder(endpoint.json), models, takes_background)


@dataclass(frozen=True, slots=True)
class _Models:
    providers: Mapping[str, ProviderConfig]
    default: str
    request_type: str

    def target(self, model: str | None) -> Target:
        if not model:
            raise BadRequest("field 'model' is missing or empty: expected 'provider/model'", code=MISSING)
        if len(model) > MAX_MODEL_CHARACTERS or not model.isprintable():
            most = f"at most {MAX_MODEL_CHARACTERS} printable characters"
            raise BadRequest(f"field 'model': expected {most}, got {len(model)}")
        found = split_model(model, self.providers, self.default)
        if isinstance(found, ModelError):
            raise BadRequest(found.message, code=UNKNOWN_MODEL)
        if problem := self._cannot(found):
            raise BadRequest(f"model '{model}': {problem}", code=UNKNOWN_MODEL)
        return found

    def with_fallbacks(self, first: Target, fallbacks: object) -> tuple[Target, ...]:
        if not fallbacks:
            return (first,)
        more = parse_fallbacks(fallbacks, self.providers, self.default)
        return (first, *(target for target in more if not self._cannot(target)))

    def _cannot(self, target: Target) -> str | None:
        """Why a local model cannot do this: all of them are known. What others know is their own business."""
        config = self.providers[target.provider]
        if config.kind != "local":
            return None
        if problem := not_for(self.request_type, target.model):
            return problem
        if not config.listed_by or target.model in config.models:
            return None
        return f"it is not served here: {config.listed_by} lists {', '.join(config.models)}"


@dataclass(frozen=True, slots=True)
class _JsonParser:
    """Any body that is not multipart is taken for JSON, whatever its Content-Type: curl's -d sends a form's."""

    endpoint: Endpoint
    decoder: msgspec.json.Decoder[JsonBody]
    models: _Models
    takes_background: bool

    def __call__(self, data: bytes, content_type: str, digest: bool) -> ParsedRequest:
        if content_type[:10].lower() == "multipart/":
            raise UnsupportedBody(f"{self.endpoint.path} takes a JSON body, got Content-Type {content_type[:60]!r}")
        if len(data) > LARGE_BODY and holds_more_values(data, MAX_VALUES):
            raise TooLarge(f"the body holds more than {MAX_VALUES} values: split it into several requests")
        body, parsed = self._decode(data)
        targets = self.models.with_fallbacks(self.models.target(body.model), body.fallbacks)
        if problem := body.missing(targets[0].provider):
            raise BadRequest(problem, code=MISSING if "is missing" in problem else None)
        self._refuse_streaming(body)
        background = None
        if self.takes_background and "background" in parsed:
            background = bool(parsed.pop("background"))
            fields = msgspec.json.decode(data, type=Object)  # what stays keeps its bytes
            del fields["background"]
            data = msgspec.json.encode(fields)
        return ParsedRequest(targets, Content("json", data), body_digest(parsed) if digest else None, background)

    def _decode(self, data: bytes) -> tuple[JsonBody, dict[str, Any]]:
        """Decode twice: the schema's decoder does not look whether unknown fields can be read."""
        try:
            body = self.decoder.decode(data)
            return body, _any.decode(data)
        except msgspec.ValidationError as error:
            raise BadRequest(type_problem(str(error)), code="invalid_type") from None
        except msgspec.DecodeError as error:
            raise BadRequest(syntax_problem(str(error), len(data)), code="invalid_json") from None
        except UnicodeError:
            raise BadRequest("the body is not valid JSON: expected UTF-8 text") from None
        except RecursionError:
            raise BadRequest("the body is nested too deeply: expected at most a few hundred levels") from None

    def _refuse_streaming(self, body: JsonBody) -> None:
        rule = self.endpoint.stream_rule
        if rule == "stream" and body.stream:
            got = "got true: a job cannot stream, collect its result"
            raise BadRequest(f"field 'stream': expected false or none, {got}")
        if rule == "stream_format" and getattr(body, "stream_format", None) == "sse":
            raise BadRequest("field 'stream_format': expected anything but 'sse': a job cannot stream")


@dataclass(frozen=True, slots=True)
class _FormParser:
    """multipart/form-data with a boundary; its bytes are stored as they came."""

    endpoint: Endpoint
    schema: FormSchema
    models: _Models
    max_bytes: int

    def __call__(self, data: bytes, content_type: str, digest: bool) -> ParsedRequest:
        try:
            form = parse_form(data, content_type, max_file_bytes=self.max_bytes)
            texts = _first_texts(form)
            fallbacks = form.texts("fallbacks")
        except FormError as error:
            raise (TooLarge if error.too_large else BadRequest)(error.message) from None
        targets = self.models.with_fallbacks(self.models.target(texts.get("model")), fallbacks)
        files = [part.name for part in form.parts if part.filename is not None]
        if problem := self.schema.problem(texts, files):
            raise BadRequest(problem, code=MISSING if "is missing" in problem else None)
        if self.endpoint.stream_rule == "stream" and texts.get("stream") == "true":
            raise BadRequest("field 'stream': expected anything but 'true': a job cannot stream, collect its result")
        return ParsedRequest(targets, Content("multipart", data, content_type), body_digest(form) if digest else None)


def _first_texts(form: Form) -> dict[str, str]:
    """By name; the first of a name counts."""
    texts: dict[str, str] = {}
    for part in form.parts:
        if part.filename is None:
            texts.setdefault(part.name, part.text)
    return texts


def holds_more_values(body: bytes, most: int) -> bool:
    """Whether it has more than `most` commas and openings of lists and objects outside of strings, or too many strings.

    Each value but the first has such a byte of its own. At most two strings, name and text, belong to a value.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) <= most:
        return False
    body = body.translate(_OPENINGS)  # now one count finds all three
    values = outside = 0
    for strings, found in enumerate(_STRING.finditer(body)):
        values += body.count(b",", outside, found.start())
        outside = found.end()
        if values > most or strings > 2 * most + 2:
            return True
    return values + body.count(b",", outside) > most
