"""Clients during a rollout: a steady stream of submits over kept connections to the endpoints that a Service has."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Sequence

import httpx

from tests.deploy.chart.pods import Pod

END_SECONDS = 60.0
"""How long jobs that were accepted last may take to end."""
LAG_SECONDS = 0.5
"""How late the clients' side learns that a pod has left the Service."""


class Endpoints:
    """The pods behind a Service, as load balancers see them: each remembers a pod for a while after it has left."""

    def __init__(self, pods: Sequence[Pod] = ()) -> None:
        self._pods = list(pods)
        self._leaving: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, pod: Pod) -> None:
        """A pod became ready."""
        with self._lock:
            self._pods.append(pod)

    def remove(self, pod: Pod) -> None:
        """A pod is about to be stopped; for a moment requests still come to it."""
        with self._lock:
            self._leaving[pod.name] = time.monotonic() + LAG_SECONDS

    def pick(self) -> str:
        """The base URL of any of them."""
        with self._lock:
            now = time.monotonic()
            self._pods = [pod for pod in self._pods if self._leaving.get(pod.name, now) >= now]
            host, port = random.choice(self._pods).address("api")
        return f"http://{host}:{port}"


class Traffic:
    """Submits in the background while its context lasts, then waits until every accepted job was seen to end.

    `failures`, `accepted` and `open` tell what came of it.
    """

    def __init__(self, endpoints: Endpoints, key: str, models: Sequence[str], per_second: float) -> None:
        self._endpoints = endpoints
        self._headers = {"Authorization": f"Bearer {key}"}
        self._models = models
        self._interval = 1.0 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)
        self.accepted: list[str] = []
        self.ended: dict[str, str] = {}
        self.failures: list[str] = []
        self.requests = 0

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def open(self) -> set[str]:
        """Jobs that were accepted and not seen to end."""
        return set(self.accepted) - set(self.ended)

    async def _run(self) -> None:
        async with httpx.AsyncClient(timeout=10.0, trust_env=False, headers=self._headers) as client:
            under_way: set[asyncio.Task[None]] = set()
            for number in range(100_000):
                if self._stop.is_set():
                    break
                task = asyncio.create_task(self._submit(client, self._models[number % len(self._models)]))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                if number % 10 == 9:
                    await self._poll(client, 10)
                await asyncio.sleep(self._interval)
            await asyncio.gather(*under_way)
            deadline = time.monotonic() + END_SECONDS
            while self.open and time.monotonic() < deadline:
                await self._poll(client, 100)
                await asyncio.sleep(0.2)

    async def _submit(self, client: httpx.AsyncClient, model: str) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        answer = await self._ask(client, "POST", "/v1/async/chat/completions", json=body)
        if answer is not None:
            self.accepted.append(answer.json()["id"])

    async def _poll(self, client: httpx.AsyncClient, most: int) -> None:
        waiting = list(self.open)[:most]

        async def one(job: str) -> None:
            answer = await self._ask(client, "GET", f"/v1/async/chat/completions/{job}")
            if answer is not None and answer.json()["status"] in ("completed", "failed"):
                self.ended[job] = answer.json()["status"]

        await asyncio.gather(*map(one, waiting))

    async def _ask(self, client: httpx.AsyncClient, method: str, path: str, **how: object) -> httpx.Response | None:
        self.requests += 1
        url = self._endpoints.pick()
        try:
            answer = await client.request(method, url + path, **how)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            self.failures.append(f"{method} {url}: {type(error).__name__} {error}")
            return None
        if answer.status_code not in (200, 202):
            self.failures.append(f"{method} {url}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer
