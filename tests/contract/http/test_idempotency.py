"""Idempotency-Key over HTTP: a repeated submit finds its job, another request under the same key does not."""

from __future__ import annotations

import asyncio
import json

import pytest

from shared.domain.job import PayloadRef
from tests.contract.http.test_api import assert_error
from tests.support.http_api import ERROR, RESULT, Api, stored_chunks
from tests.support.jobs import eventually
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
    assert len(api.notifications.notified) == 1


async def test_a_repeated_submit_says_how_the_job_is_just_like_a_poll(api: Api) -> None:
    job_id = (await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")).json()["id"]
    await assert_like_a_poll(api, 202, "pending")
    held = await api.claim(job_id)
    await assert_like_a_poll(api, 202, "processing")
    await api.finish(job_id, held.lease, RESULT)
    await assert_like_a_poll(api, 200, "completed")
    assert len(api.notifications.notified) == 1


async def assert_like_a_poll(api: Api, code: int, status: str) -> None:
    again = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    poll = await api.client.get(again.headers["location"])
    assert (again.status_code, again.json()["status"]) == (code, status)
    assert (again.status_code, again.content) == (poll.status_code, poll.content)
    assert again.headers["x-coatcheck-replayed"] == "true"
    assert ("retry-after" in again.headers) == ("retry-after" in poll.headers) == (code == 202)


async def test_a_repeated_submit_of_a_failed_job_has_its_error(api: Api) -> None:
    first = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    await api.end(first.json()["id"], ERROR, status_code=429)
    again = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    assert again.status_code == 200
    assert (again.json()["status"], again.json()["status_code"]) == ("failed", 429)
    assert again.json()["error"] == json.loads(ERROR)


async def test_a_repeated_submit_has_a_large_result_byte_for_byte(api: Api) -> None:
    first = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    await api.end(first.json()["id"], b'{"a":"' + b"x" * 9_000_000 + b'"}')
    again = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    assert again.status_code == 200
    assert again.content == (await api.client.get(again.headers["location"])).content


async def test_a_submit_repeated_just_before_the_job_expires_has_the_result_and_needs_no_poll(api: Api) -> None:
    first = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    await api.end(first.json()["id"], result_ttl=1)
    again = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    assert (again.status_code, again.json()["result"]) == (200, json.loads(RESULT))

    async def gone() -> bool:
        return (await api.client.get(first.headers["location"])).status_code == 404

    await eventually(gone)


@pytest.mark.parametrize("key", ["k1", "another"])
async def test_the_body_of_a_repeated_submit_is_not_stored_again(api: Api, key: str) -> None:
    large = EMBEDDING | {"input": "x" * 100_000}
    await api.submit(EMBEDDINGS, large, idempotency_key="k1")
    answers = [await api.submit(EMBEDDINGS, large, idempotency_key=key) for _ in range(10)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await stored_chunks(api.store) == len({"k1", key})


async def test_of_large_submits_at_the_same_moment_one_body_stays(api: Api) -> None:
    large = EMBEDDING | {"input": "x" * 100_000}
    answers = await asyncio.gather(*[api.submit(EMBEDDINGS, large, idempotency_key="k1") for _ in range(8)])
    assert {answer.status_code for answer in answers} == {202}

    async def alone() -> bool:
        return await stored_chunks(api.store) == 1

    await eventually(alone)
    held = await api.held(answers[0])
    assert isinstance(held.content, PayloadRef)
    assert json.loads(await api.store.load(held.content)) == large


async def test_another_request_under_the_same_key_is_a_422(api: Api) -> None:
    await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1")
    assert_error(await api.submit(EMBEDDINGS, EMBEDDING | {"input": "x"}, idempotency_key="k1"), 422, "Idempotency-Key")
    other_type = SAMPLES["responses"]
    assert_error(await api.submit(other_type.endpoint.path, other_type.body, idempotency_key="k1"), 422)
    assert_error(await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k1", x_bf_eh_x_a="1"), 422)
    assert len(api.notifications.notified) == 1


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
    assert len(set(api.notifications.notified)) == 1


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
    assert not api.notifications.notified
