"""The drop-in Responses routes: by header, in the background, waiting, and what each shows of a job."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.contract.http.test_api import assert_error
from tests.support.http_api import ERROR, Api
from tests.support.jobs import eventually

PATHS = ["/openai/v1/responses", "/openai/responses", "/openai/openai/responses"]
PATH = PATHS[0]
REQUEST = {"model": "openai/gpt-4o-mini", "input": "Say hello"}
RESULT = (
    b'{"id":"resp_fake1","object":"response","created_at":1700000000,"model":"gpt-4o-mini","status":"completed",'
    b'"output":[{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":'
    b'[{"type":"output_text","text":"Hello!","annotations":[]}]}],"extra_fields":{"request_type":"responses"}}'
)
LARGE = RESULT.replace(b"Hello!", b"Hello " * 200_000)


def assert_whole(body: dict[str, Any]) -> None:
    """It has every field of the recorded object."""
    fields = (
        "id object background created_at completed_at error incomplete_details instructions max_output_tokens "
        "max_tool_calls model output parallel_tool_calls previous_response_id prompt_cache_key presence_penalty "
        "frequency_penalty reasoning safety_identifier service_tier status store temperature text top_logprobs top_p "
        "tool_choice tools truncation usage extra_fields"
    )
    assert set(fields.split()) <= set(body)


async def poll_by_header(api: Api, job_id: str, path: str = PATH, **headers: str) -> httpx.Response:
    return await api.submit(path, b"{}", x_bf_async_id=job_id, **headers)


async def stored_body(api: Api, answer: httpx.Response) -> Any:
    held = await api.held(answer)
    assert hasattr(held.content, "data")
    return json.loads(held.content.data)


@pytest.mark.parametrize("path", PATHS)
async def test_by_header_a_job_is_submitted_and_retrieved(api: Api, path: str) -> None:
    submitted = await api.submit(path, REQUEST, x_bf_async="true")
    assert submitted.status_code == 200
    assert_whole(submitted.json())
    job_id = submitted.json()["id"]
    assert UUID(job_id)
    assert (submitted.json()["status"], submitted.json()["output"]) == ("pending", [])
    assert submitted.headers["location"] == f"{path}/{job_id}"

    waiting = await poll_by_header(api, job_id, path)
    assert (waiting.status_code, waiting.json()["status"], waiting.json()["id"]) == (200, "pending", job_id)
    assert_whole(waiting.json())
    lease = (await api.claim(job_id)).lease
    running = await poll_by_header(api, job_id, path)
    assert (running.status_code, running.json()["status"]) == (200, "processing")
    await api.finish(job_id, lease, RESULT)
    done = await poll_by_header(api, job_id, path)
    assert (done.status_code, done.json()["id"], done.json()["status"]) == (200, "resp_fake1", "completed")
    assert_whole(done.json())
    assert done.json()["output"][0]["content"][0]["text"] == "Hello!"
    empty = await api.submit(path, b"", x_bf_async_id=job_id)
    assert empty.content == done.content


@pytest.mark.parametrize("path", PATHS)
async def test_in_the_background_a_job_is_submitted_and_retrieved_under_its_own_id(api: Api, path: str) -> None:
    submitted = await api.submit(path, REQUEST | {"background": True})
    assert submitted.status_code == 200
    assert_whole(submitted.json())
    assert (submitted.json()["status"], submitted.json()["background"]) == ("queued", True)
    job_id = submitted.json()["id"]
    one = f"{path}/{job_id}"
    waiting = await api.client.get(one)
    assert (waiting.status_code, waiting.json()["status"], waiting.json()["id"]) == (200, "queued", job_id)
    lease = (await api.claim(job_id)).lease
    assert (await api.client.get(one)).json()["status"] == "in_progress"
    await api.finish(job_id, lease, RESULT)
    done = await api.client.get(one)
    assert (done.status_code, done.json()["id"], done.json()["status"]) == (200, job_id, "completed")
    assert done.json()["output"][0]["content"][0]["text"] == "Hello!"


async def test_a_failed_job_shows_its_error_to_each_in_his_own_way(api: Api) -> None:
    job_id = (await api.submit(PATH, REQUEST | {"background": True})).json()["id"]
    await api.end(job_id, ERROR, status_code=429)
    stock = await api.client.get(f"{PATH}/{job_id}")
    assert (stock.status_code, stock.json()["status"], stock.json()["id"]) == (200, "failed", job_id)
    assert stock.json()["error"] == {"code": "rate_limit_exceeded", "message": "upstream quota used up"}
    assert_whole(stock.json())
    by_header = await poll_by_header(api, job_id)
    assert (by_header.status_code, by_header.json()) == (429, json.loads(ERROR))


async def test_a_large_result_is_shown_too(api: Api) -> None:
    job_id = (await api.submit(PATH, REQUEST | {"background": True})).json()["id"]
    await api.end(job_id, LARGE)
    text = json.loads(LARGE)["output"]
    assert (await api.client.get(f"{PATH}/{job_id}")).json()["output"] == text
    assert (await poll_by_header(api, job_id)).json()["output"] == text


async def test_the_background_wish_is_for_us_and_not_for_the_provider(api: Api) -> None:
    for body, headers in [
        (REQUEST | {"background": True}, {}),
        (REQUEST | {"background": True}, {"x_bf_async": "true"}),
        (REQUEST | {"background": False}, {"x_bf_async": "true"}),
        (REQUEST, {"x_bf_async": "TRUE"}),
    ]:
        assert await stored_body(api, await api.submit(PATH, body, **headers)) == REQUEST
    native = await api.submit("/v1/async/responses", REQUEST | {"background": True})
    assert await stored_body(api, native) == REQUEST | {"background": True}


async def test_a_job_of_one_way_is_seen_in_the_other(api: Api) -> None:
    native = (await api.submit("/v1/async/responses", REQUEST)).json()["id"]
    assert (await api.client.get(f"{PATH}/{native}")).json()["status"] == "queued"
    openai_responses = (await api.submit(PATH, REQUEST, x_bf_async="true")).json()["id"]
    assert (await api.client.get(f"/v1/async/responses/{openai_responses}")).json()["status"] == "pending"
    embedding = await api.submit("/v1/async/embeddings", {"model": "openai/m", "input": "x"})
    assert_error(await api.client.get(f"{PATH}/{embedding.json()['id']}"), 404)
    assert_error(await poll_by_header(api, embedding.json()["id"]), 404)


async def test_a_call_that_wants_no_job_waits_for_the_result(api: Api) -> None:
    for end_with, status, answer_id in [(RESULT, 200, "resp_fake1"), (LARGE, 200, "resp_fake1"), (ERROR, 429, None)]:
        notified = len(api.notifications.notified)
        call = asyncio.create_task(api.submit(PATH, REQUEST))
        await eventually(lambda notified=notified: len(api.notifications.notified) > notified)  # type: ignore[misc]
        await api.end(str(api.notifications.notified[-1]), end_with, status_code=status)
        answer = await call
        assert answer.status_code == status
        assert answer.json().get("id") == answer_id


@pytest.mark.parametrize("wish", [{"x_bf_async": "false"}, {"x_bf_async": "1"}, {}])
async def test_a_wait_that_is_over_names_the_job_and_where_to_collect_it(api: Api, wish: dict[str, str]) -> None:
    answer = await api.submit(PATH, REQUEST, **wish)
    job_id = str(api.notifications.notified[-1])
    assert_error(answer, 504, job_id, f"GET {PATH}/{job_id}", "background")
    assert answer.headers["location"] == f"{PATH}/{job_id}"
    assert answer.headers["x-should-retry"] == "false"
    assert (await api.client.get(answer.headers["location"])).json()["status"] == "queued"


async def test_streaming_is_refused_in_every_way(api: Api) -> None:
    streaming = REQUEST | {"stream": True}
    assert_error(await api.submit(PATH, streaming, x_bf_async="true"), 400, "stream")
    assert_error(await api.submit(PATH, streaming | {"background": True}), 400, "stream")
    assert_error(await api.submit(PATH, streaming), 400, "stream")
    assert not api.notifications.notified
    job_id = (await api.submit(PATH, REQUEST | {"background": True})).json()["id"]
    assert_error(await api.client.get(f"{PATH}/{job_id}", params={"stream": "true"}), 400, "stream")


async def test_the_id_header_wins_and_its_body_is_ignored(api: Api) -> None:
    job_id = (await api.submit(PATH, REQUEST, x_bf_async="true")).json()["id"]
    answer = await api.submit(PATH, b"not json", x_bf_async="true", x_bf_async_id=job_id)
    assert (answer.status_code, answer.json()["id"]) == (200, job_id)
    assert len(api.notifications.notified) == 1


@pytest.mark.parametrize("job_id", ["00000000-0000-0000-0000-000000000000", "abc", "resp_123"])
async def test_an_unknown_job_is_a_404_in_every_way(api: Api, job_id: str) -> None:
    assert_error(await poll_by_header(api, job_id), 404)
    assert_error(await api.client.get(f"{PATH}/{job_id}"), 404)


async def test_a_scoped_job_opens_with_its_key_only(api: Api) -> None:
    _, one = await api.keys.create()
    _, two = await api.keys.create()
    job_id = (await api.submit(PATH, REQUEST, x_bf_async="true", authorization=f"Bearer {one}")).json()["id"]
    assert (await poll_by_header(api, job_id, x_bf_vk=one)).status_code == 200
    assert (await api.client.get(f"{PATH}/{job_id}", headers={"x-bf-vk": one})).status_code == 200
    for headers in ({"x_bf_vk": two}, {}):
        assert_error(await poll_by_header(api, job_id, **headers), 404)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        assert_error(await api.client.get(f"{PATH}/{job_id}", headers=named), 404)


async def test_a_repeated_submit_under_an_idempotency_key_finds_its_job(api: Api) -> None:
    plain: dict[str, object] = dict(REQUEST)
    ways: list[tuple[dict[str, object], dict[str, str]]] = [
        (plain | {"background": True}, {}),
        (plain, {"x_bf_async": "true"}),
        (plain | {"background": False}, {"x_bf_async": "true"}),
    ]
    answers = [await api.submit(PATH, body, idempotency_key="k1", **headers) for body, headers in ways]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.headers.get("x-coatcheck-replayed") for answer in answers] == [None, "true", "true"]
    other = await api.submit(PATH, REQUEST | {"input": "x", "background": True}, idempotency_key="k1")
    assert_error(other, 422, "Idempotency-Key")


@pytest.mark.parametrize("status_code", [200, 429])
async def test_a_submit_repeated_after_the_end_is_answered_like_a_retrieval(api: Api, status_code: int) -> None:
    stock: dict[str, object] = {**REQUEST, "background": True}
    job_id = (await api.submit(PATH, stock, idempotency_key="k1")).json()["id"]
    await api.end(job_id, RESULT if status_code == 200 else ERROR, status_code=status_code)
    again = await api.submit(PATH, stock, idempotency_key="k1")
    retrieved = await api.client.get(f"{PATH}/{job_id}")
    assert (again.status_code, again.content) == (retrieved.status_code, retrieved.content)
    by_header = await api.submit(PATH, REQUEST, x_bf_async_id=job_id)
    for headers in ({"x_bf_async": "true"}, {}):
        again = await api.submit(PATH, REQUEST, idempotency_key="k1", **headers)
        assert (again.status_code, again.content) == (by_header.status_code, by_header.content)
        assert again.headers.get("x-coatcheck-replayed") == ("true" if headers else None)


async def test_what_is_wrong_with_a_request_is_said_as_on_the_native_route(api: Api) -> None:
    for headers in ({"x_bf_async": "true"}, {}):
        assert_error(await api.submit(PATH, {"input": "x"}, **headers), 400, "'model'")
        assert_error(await api.submit(PATH, {"model": "openai/m"}, **headers), 400, "'input'")
        assert_error(await api.submit(PATH, b"{", **headers), 400, "JSON")
        assert_error(await api.submit(PATH, REQUEST, x_bf_vk="sk-bf-none", **headers), 400, "key")
        assert_error(await api.submit(PATH, REQUEST, x_bf_async_webhook="hook", **headers), 400, "webhook")
    assert not api.notifications.notified


async def test_other_methods_are_refused(api: Api) -> None:
    for method, path in [("GET", PATH), ("DELETE", PATH), ("POST", f"{PATH}/x"), ("DELETE", f"{PATH}/x")]:
        assert_error(await api.client.request(method, path), 405)


class TestWithFewWaiters:
    """One call may wait at a time."""

    @pytest.fixture
    def edge_settings(self) -> dict[str, object]:
        return {"max_sync_waiters": 1, "sync_wait_seconds": 30}

    async def test_one_waiter_too_many_is_refused_before_he_has_a_job(self, api: Api) -> None:
        first = asyncio.create_task(api.submit(PATH, REQUEST))
        await eventually(lambda: len(api.notifications.notified) == 1)
        refused = await api.submit(PATH, REQUEST)
        assert_error(refused, 503, "background")
        assert refused.headers["retry-after"] == "1"
        assert len(api.notifications.notified) == 1
        await api.end(str(api.notifications.notified[0]), RESULT)
        assert (await first).status_code == 200
        again = asyncio.create_task(api.submit(PATH, REQUEST))
        await eventually(lambda: len(api.notifications.notified) == 2)
        await api.end(str(api.notifications.notified[1]), RESULT)
        assert (await again).status_code == 200
