"""Request bodies: bytes in, a validated request out, or a 400 that names field, expectation and what came.

Duplicate keys of a JSON object: the last one counts, as it does for whoever reads the stored bytes later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from edge.errors import TooLarge
from edge.explain import syntax_problem, type_problem
from edge.idempotency import body_digest
from shared.catalogue import Endpoint
from shared.content import Content
from shared.errors import BadRequest, UnsupportedBody
from shared.form import Form, FormError, parse_form
from shared.form_schema import FormSchema
from shared.providers import ModelError, ProviderConfig, Target, parse_fallbacks, split_model
from shared.schemas import JsonBody, Object

LARGE_BODY = 256 * 1024
"""Bodies above this many bytes are read in a thread, one at a time."""

MAX_VALUES = 1_000_000
"""Values a large JSON body may hold, counted by its commas: a cheap bound on the memory that decoding takes."""

MAX_MODEL_CHARACTERS = 256

_any = msgspec.json.Decoder()


class ParsedRequest(msgspec.Struct, frozen=True):
    """A complete, valid request: where it goes and what is stored."""

    targets: tuple[Target, ...]
    content: Content
    digest: bytes | None
    """What the body says, for comparison; only made when asked for."""
    background: bool | None = None
    """The drop-in routes' wish for a job, taken out of the body; None when the body says nothing."""


Parse = Callable[[bytes, str, bool], ParsedRequest]
"""From a body, its Content-Type and whether a digest is wanted to a request. Raises a Refusal."""


class BodyReader:
    """Reads the bodies of one endpoint."""

    def __init__(self, parse: Parse, large: asyncio.Semaphore) -> None:
        self._parse = parse
        self._large = large

    async def read(self, data: bytes, content_type: str, *, digest: bool) -> ParsedRequest:
        """Decode and validate. Raises a Refusal. A large body must not hold up the requests beside it."""
        if len(data) <= LARGE_BODY:
            return self._parse(data, content_type, digest)
        async with self._large:
            return await asyncio.to_thread(self._parse, data, content_type, digest)


def parser(
    endpoint: Endpoint,
    providers: Mapping[str, ProviderConfig],
    default_provider: str,
    max_bytes: int,
    *,
    takes_background: bool = False,
) -> Parse:
    """The parser of one endpoint. `takes_background`: that field is for us and not for the provider."""
    models = _Models(providers, default_provider)
    if endpoint.form is not None:
        return _FormParser(endpoint, endpoint.form, models, max_bytes)
    assert endpoint.json is not None
    return _JsonParser(endpoint, endpoint.json, models, takes_background)


class _Models:
    """Which targets a request names."""

    def __init__(self, providers: Mapping[str, ProviderConfig], default_provider: str) -> None:
        self._providers = providers
        self._default = default_provider

    def target(self, model: str | None) -> Target:
        if not model:
            raise BadRequest("field 'model' is missing or empty: expected 'provider/model'")
        if len(model) > MAX_MODEL_CHARACTERS or not model.isprintable():
            raise BadRequest(
                f"field 'model': expected at most {MAX_MODEL_CHARACTERS} printable characters, got {len(model)}"
            )
        found = split_model(model, self._providers, self._default)
        if isinstance(found, ModelError):
            raise BadRequest(found.message)
        return found

    def with_fallbacks(self, first: Target, fallbacks: object) -> tuple[Target, ...]:
        return (first, *parse_fallbacks(fallbacks, self._providers, self._default)) if fallbacks else (first,)


class _JsonParser:
    """Any body that is not multipart is taken for JSON, whatever its Content-Type: curl's -d sends a form's."""

    def __init__(self, endpoint: Endpoint, schema: type[JsonBody], models: _Models, takes_background: bool) -> None:
        self._endpoint = endpoint
        self._takes_background = takes_background
        self._decoder = msgspec.json.Decoder(schema)
        self._models = models

    def __call__(self, data: bytes, content_type: str, digest: bool) -> ParsedRequest:
        if content_type[:10].lower() == "multipart/":
            raise UnsupportedBody(f"{self._endpoint.path} takes a JSON body, got Content-Type {content_type[:60]!r}")
        if len(data) > LARGE_BODY and data.count(b",") > MAX_VALUES:
            raise TooLarge(f"the body holds more than {MAX_VALUES} values: split it into several requests")
        body, parsed = self._decode(data)
        target = self._models.target(body.model)
        targets = self._models.with_fallbacks(target, body.fallbacks)
        if problem := body.missing(target.provider):
            raise BadRequest(problem)
        self._refuse_streaming(body)
        background = None
        if self._takes_background and "background" in parsed:
            background = bool(parsed.pop("background"))
            data = _without_background(data)
        return ParsedRequest(targets, Content("json", data), body_digest(parsed) if digest else None, background)

    def _decode(self, data: bytes) -> tuple[JsonBody, dict[str, Any]]:
        """Decode twice: the schema's decoder skips over unknown fields without looking whether a reader can."""
        try:
            body = self._decoder.decode(data)
            return body, _any.decode(data)
        except msgspec.ValidationError as error:
            raise BadRequest(type_problem(str(error))) from None
        except msgspec.DecodeError as error:
            raise BadRequest(syntax_problem(str(error), len(data))) from None
        except UnicodeError:
            raise BadRequest("the body is not valid JSON: expected UTF-8 text") from None
        except RecursionError:
            raise BadRequest("the body is nested too deeply: expected at most a few hundred levels") from None

    def _refuse_streaming(self, body: JsonBody) -> None:
        rule = self._endpoint.stream_rule
        if rule == "stream" and body.stream:
            raise BadRequest(
                "field 'stream': expected false or none, got true: a job cannot stream, collect its result"
            )
        if rule == "stream_format" and getattr(body, "stream_format", None) == "sse":
            raise BadRequest("field 'stream_format': expected anything but 'sse': a job cannot stream")


class _FormParser:
    """multipart/form-data with a boundary; its bytes are stored as they came."""

    def __init__(self, endpoint: Endpoint, schema: FormSchema, models: _Models, max_bytes: int) -> None:
        self._endpoint = endpoint
        self._schema = schema
        self._models = models
        self._max_bytes = max_bytes

    def __call__(self, data: bytes, content_type: str, digest: bool) -> ParsedRequest:
        try:
            form = parse_form(data, content_type, max_file_bytes=self._max_bytes)
            texts = _first_texts(form)
            fallbacks = form.texts("fallbacks")
        except FormError as error:
            raise (TooLarge if error.too_large else BadRequest)(error.message) from None
        target = self._models.target(texts.get("model"))
        targets = self._models.with_fallbacks(target, fallbacks)
        files = [part.name for part in form.parts if part.filename is not None]
        if problem := self._schema.problem(texts, files):
            raise BadRequest(problem)
        if self._endpoint.stream_rule == "stream" and texts.get("stream") == "true":
            raise BadRequest("field 'stream': expected anything but 'true': a job cannot stream, collect its result")
        return ParsedRequest(targets, Content("multipart", data, content_type), body_digest(form) if digest else None)


def _without_background(body: bytes) -> bytes:
    """The same object without that field; what stays keeps its bytes."""
    fields = msgspec.json.decode(body, type=Object)
    del fields["background"]
    return msgspec.json.encode(fields)


def _first_texts(form: Form) -> dict[str, str]:
    """Text fields by name; the first of a name counts."""
    texts: dict[str, str] = {}
    for part in form.parts:
        if part.filename is None:
            texts.setdefault(part.name, part.text)
    return texts
