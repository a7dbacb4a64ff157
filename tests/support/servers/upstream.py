"""The scripted upstream for tests: in this event loop, or as a process of its own; and calls to make to providers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coatcheck.drill.upstream.call_log import CallLog
from coatcheck.drill.upstream.server import start_upstream
from shared.domain.catalogue import BY_TYPE
from shared.domain.content import Content
from shared.domain.form import Part, encode_form
from shared.providers.config import ProviderConfig, configured
from workers.provider_interface import Call

AUDIO = bytes(range(256)) * 40
IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(1000)

JSON_BODIES = {
    "text_completion": b'{"model":"p/m","prompt":"Name one river."}',
    "chat_completion": b'{"model":"p/m","messages":[{"role":"user","content":"Give me a colour."}]}',
    "responses": b'{"model":"p/m","input":"Give me a fruit.","background":true}',
    "embedding": b'{"model":"p/m","input":["red","blue"],"encoding_format":"float"}',
    "speech": b'{"model":"p/m","input":"Good evening","voice":"alloy"}',
    "image_generation": b'{"model":"p/m","prompt":"a paper boat","n":2}',
    "rerank": (
        b'{"model":"p/m","query":"fast","documents":["snail",{"text":"cheetah","id":"d2"}],"return_documents":true}'
    ),
    "ocr": b'{"model":"p/m","document":{"type":"image_url","image_url":"https://files.example/r.jpg"}}',
}
FORM_PARTS = {
    "transcription": [Part("file", "note.mp3", "audio/mpeg", AUDIO), Part("language", None, None, b"en")],
    "image_edit": [
        Part("prompt", None, None, b"add a moon"),
        Part("image[]", "a.png", "image/png", IMAGE),
        Part("image[]", "b.png", "image/png", IMAGE[::-1]),
    ],
    "image_variation": [Part("image", "in.png", "image/png", IMAGE), Part("n", None, None, b"1")],
}


@dataclass(frozen=True)
class Upstream:
    """A running upstream. `log` is there only when it runs in this process."""

    port: int
    log: CallLog | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def config(self, name: str = "up", **fields: Any) -> ProviderConfig:
        """A provider that calls it."""
        return configured({name: {"base_url": self.base_url, **fields}}, {})[name]


@asynccontextmanager
async def running_upstream(api_key: str = "") -> AsyncIterator[Upstream]:
    """An upstream in this event loop."""
    server, port, log = await start_upstream(api_key=api_key)
    try:
        yield Upstream(port, log)
    finally:
        server.close()
        log.close()


@asynccontextmanager
async def upstream_process(log_path: Path) -> AsyncIterator[Upstream]:
    """An upstream of its own, stopped with SIGTERM, that writes its calls to `log_path`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coatcheck.drill.upstream.server", "--log", str(log_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield Upstream(int(await process.stdout.readline()))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def content_of(request_type: str) -> Content:
    """A client's body of this request type, as stored."""
    if BY_TYPE[request_type].form is None:
        return Content("json", JSON_BODIES[request_type])
    content_type, body = encode_form([Part("model", None, None, b"p/m"), *FORM_PARTS[request_type]])
    return Content("multipart", body, content_type)


def call_of(
    request_type: str = "chat_completion",
    model: str = "m",
    *,
    content: Content | None = None,
    forward: dict[str, str] | None = None,
    extra_params: bool = False,
    seconds: float = 10.0,
    call_id: str = "job-1/1/0",
    params: bytes = b"",
) -> Call:
    """A call of this request type with everything else filled in."""
    return Call(
        request_type=request_type,
        model=model,
        content=content or content_of(request_type),
        forward=forward or {},
        extra_params=extra_params,
        timeout=seconds,
        call_id=call_id,
        params=params,
    )
