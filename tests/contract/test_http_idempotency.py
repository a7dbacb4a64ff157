"""Idempotency-Key over HTTP: a repeated submit finds its job, another request under the same key does not."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.contract.test_http_api import assert_error
from tests.support.http_api import Api
from tests.support.requests import EMBEDDING, EMBEDDINGS, SAMPLES


async def test_the_same_key_and_request_give_the_same_job(api: Api) -> None:
    first = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    respelt = json.dumps(dict(reversed(EMBEDDING.items())), indent=2).encode()
    again = await api.submit(EMBEDDINGS, respelt, idempotency_key="k1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["x-coatcheck-replayed"] == "true"
    assert "x-coatcheck-replayed" not in first.headers
    assert len(api.bells.rung) == 1


async def test_a_replay_is_answered_as_pending_even_when_the_job_has_ended(api: Api) -> None:
    first = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    await api.end(first.json()["id"])
    assert (await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")).json() == first.json()
    assert (await api.client.get(first.headers["location"])).json()["status"] == "completed"


async def test_another_request_under_the_same_key_is_a_422(api: Api) -> None:
    await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    assert_error(await api.submit(EMBEDDINGS, EMBEDDING | {"input": "x"}, idempotency_key="k1"), 422, "Idempotency-Key")
    other_type = SAMPLES["responses"]
    assert_error(await api.submit(other_type.endpoint.path, other_type.body, idempotency_key="k1"), 422)
    assert_error(await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1", x_bf_eh_x_a="1"), 422)
    assert len(api.bells.rung) == 1


async def test_what_does_not_shape_the_result_may_differ(api: Api) -> None:
    first = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1", x_request_id="a")
    again = await api.submit(
        EMBEDDINGS, EMBEDDING, idempotency_key="k1", x_request_id="b", x_bf_async_job_result_ttl="9"
    )
    assert again.json() == first.json()
    assert again.headers["x-request-id"] == "b"


async def test_other_keys_and_no_key_give_other_jobs(api: Api) -> None:
    answers = [
        await api.submit(EMBEDDINGS, EMBEDDING, **headers)
        for headers in ({"idempotency_key": "k1"}, {"idempotency_key": "k2"}, {}, {})
    ]
    assert len({answer.json()["id"] for answer in answers}) == 4


async def test_each_virtual_key_has_idempotency_keys_of_its_own(api: Api) -> None:
    ids = set()
    for secret in [(await api.keys.create())[1] for _ in range(2)]:
        ids |= {
            (await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1", x_bf_vk=secret)).json()["id"]
            for _ in range(2)
        }
    ids.add((await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")).json()["id"])
    assert len(ids) == 3


async def test_submits_at_the_same_moment_make_one_job(api: Api) -> None:
    answers = await asyncio.gather(*[api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1") for _ in range(30)])
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("x-coatcheck-replayed" not in answer.headers for answer in answers) == 1
    assert len(set(api.bells.rung)) == 1


async def test_a_key_can_be_used_again_once_its_job_has_expired(api: Api) -> None:
    first = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    await api.end(first.json()["id"], result_ttl=0)
    again = await api.submit(EMBEDDINGS, EMBEDDING | {"input": "x"}, idempotency_key="k1")
    assert again.status_code == 202
    assert "x-coatcheck-replayed" not in again.headers
    assert (await api.client.get(again.headers["location"])).json()["status"] == "pending"


async def test_a_form_is_the_same_request_whatever_its_boundary(api: Api) -> None:
    form = SAMPLES["transcription"]
    boundary = form.content_type.partition("boundary=")[2]
    ids = set()
    for other in (boundary, "another-boundary"):
        headers = {"content-type": f"multipart/form-data; boundary={other}", "idempotency-key": "k1"}
        body = form.body.replace(boundary.encode(), other.encode())
        ids.add((await api.client.post(form.endpoint.path, content=body, headers=headers)).json()["id"])
    assert len(ids) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there"])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    assert_error(await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key=key), 400, "1 to 255")
    assert not api.bells.rung
