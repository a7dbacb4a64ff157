"""The `local` provider: which model answers a call."""

import asyncio
import os

from shared.local_models import why_unavailable
from workers.providers.base import Answer, Call, ProviderError
from workers.providers.local.lane import Lane
from workers.providers.local.model_process import ModelProcess
from workers.providers.local.task import abandoned

_MODULES = {
    "minilm": "minilm",
    "minilm-biencoder": "minilm",  # the same network: one copy in memory serves both
    "hibari-heart": "hibari",
    "whisper-tiny-en": "whisper",
    "rapidocr": "rapid_ocr",
    "smollm2-135m-demo": "smollm",
}
_CAPACITY = 1024  # calls per model; the worker's slots bound them before, and their bodies are in memory anyway
_MOST_THREADS = 4


class LocalProvider:
    """Answers with the models that ship inside packages. A model that nobody asks for costs nothing."""

    def __init__(self, *, threads: int | None = None, capacity: int = _CAPACITY) -> None:
        """`threads`: CPU threads per model; `capacity`: calls that may wait or run per model."""
        self._threads = threads or default_threads()
        self._capacity = capacity
        self._lanes: dict[str, Lane] = {}
        self._closed = False

    async def call(self, call: Call) -> Answer:
        """Makes the call in the model's process. Raises ProviderError."""
        reason = why_unavailable(call.request_type, call.model)
        if reason is not None:
            raise ProviderError(
                reason,
                status_code=404,
                error_type="caller_model_not_available",
                type="invalid_request_error",
                code="model_not_found",
                retryable=False,
            )
        if self._closed:
            raise abandoned()
        return await self._lane(_MODULES[call.model]).run(call)

    async def close(self) -> None:
        """Stops all models and their processes. Safe to call twice."""
        self._closed = True
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    def _lane(self, module: str) -> Lane:
        if module not in self._lanes:
            name = next(model for model, its_module in _MODULES.items() if its_module == module)
            engine = ModelProcess(name, f"{__package__}.{module}", self._threads)
            self._lanes[module] = Lane(name, engine, capacity=self._capacity)
        return self._lanes[module]


def default_threads() -> int:
    """CPU threads for one model: what this process may use, less one for the event loop, at most four."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(usable - 1, 1), _MOST_THREADS)
