"""The OpenAPI document against the application: generated requests, valid and not, find no answer it does not name."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case, Response
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from edge.app import EdgeServices, create_app
from shared.settings.reading import load_settings
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.http_api import PROVIDERS, quick

RESULT = b'{"id":"resp_1","object":"response","output":[],"extra_fields":{}}'


class Worker:
    """Ends every job as soon as it is notified for."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, modality: str, ids: Sequence[UUID]) -> None:
        for job_id in ids:
            task = asyncio.get_running_loop().create_task(self._store.end(job_id, RESULT))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


SETTINGS = quick(load_settings(environ={}), sync_wait_seconds=5)
STORE = FakeStore(SETTINGS, FakeClock(running=True))
APP = create_app(EdgeServices(SETTINGS, STORE, Worker(STORE), PROVIDERS))
# The sibling paths of the drop-in route are the same resource.
schema = schemathesis.openapi.from_asgi("/openapi.json", APP).exclude(path_regex="^/openai/(openai/)?responses")

UNSAID: list[CheckFunction] = [positive_data_acceptance, negative_data_rejection]
"""A schema cannot say all that a request needs: a text that is not blank, a key used once. And what nobody knows, a
header for example, is no error."""


@schema.parametrize()
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_document_names(case: Case[Any]) -> None:
    name_a_real_model(case)
    case.call_and_validate(excluded_checks=UNSAID)


def name_a_real_model(case: Case[Any]) -> None:
    """Or nearly every request ends there."""
    body = case.body
    if isinstance(body, dict) and isinstance(model := body.get("model"), str) and 0 < len(model) <= 256:
        case.body = body | {"model": "openai/m"}


collected: Counter[int] = Counter()


class Walk(schema.include(path_regex="/(embeddings|responses|rerank)").as_state_machine()):  # type: ignore[misc]
    """Submits, and collects by the ids of the answers."""

    def before_call(self, case: Case[Any]) -> None:
        name_a_real_model(case)
        # A sequence that is played again would find the ended jobs of its first time: 200 in place of 202.
        for name in [each for each in case.headers or () if each.lower() == "idempotency-key"]:
            del case.headers[name]

    def validate_response(self, response: Response, case: Case[Any], **options: Any) -> None:
        case.validate_response(response, excluded_checks=UNSAID)
        if case.operation.path.endswith("{job_id}"):
            collected[response.status_code] += 1


def test_whoever_follows_the_links_collects_what_he_submitted() -> None:
    sequences = settings(max_examples=20, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck))
    Walk.run(settings=sequences)
    assert collected[200] > 0, collected
