"""Submit and collect, row by row of the contract: every endpoint, envelope, status, header, time to live."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta
from uuid import UUID

import httpx
import pytest

from shared.domain.job import PayloadRef
from shared.telemetry.metrics import REGISTRY
from tests.support.http_api import ERROR, RESULT, Api
from tests.support.jobs import eventually
from tests.support.requests import EMBEDDING, EMBEDDINGS, SAMPLES, Sample

EVERY = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())


async def send(api: Api, sample: Sample) -> httpx.Response:
    headers = {"content-type": sample.content_type}
    return await api.client.post(sample.endpoint.path, content=sample.body, headers=headers)


def assert_error(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"is_bifrost_error", "status_code", "error", "extra_fields"}
    assert (body["is_bifrost_error"], body["status_code"], body["extra_fields"]) == (False, status, {})
    for word in words:
        assert word in body["error"]["message"]
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"


@EVERY
async def test_every_endpoint_takes_a_request_and_hands_out_its_result(api: Api, sample: Sample) -> None:
    submitted = await send(api, sample)
    assert submitted.status_code == 202, submitted.text
    ticket = submitted.json()
    assert set(ticket) == {"id", "request_id", "status", "created_at"}
    assert ticket["status"] == "pending"
    assert ticket["request_id"] == submitted.headers["x-request-id"]
    assert submitted.headers["content-type"] == "application/json"
    assert submitted.headers["location"] == f"{sample.endpoint.path}/{ticket['id']}"
    assert submitted.headers["retry-after"] == "1"
    assert api.notifications.notified == [UUID(ticket["id"])]

    waiting = await api.client.get(submitted.headers["location"])
    assert (waiting.status_code, waiting.json()) == (202, ticket)
    await api.end(ticket["id"])
    done = await api.client.get(submitted.headers["location"])
    assert done.status_code == 200
    assert done.json() == ticket | {
        "status": "completed",
        "status_code": 200,
        "result": json.loads(RESULT),
        "completed_at": done.json()["completed_at"],
        "expires_at": done.json()["expires_at"],
    }
    assert RESULT in done.content


@EVERY
async def test_the_body_reaches_the_workers_byte_for_byte(api: Api, sample: Sample) -> None:
    held = await api.held(await send(api, sample))
    assert not isinstance(held.content, PayloadRef)
    assert held.content.data == sample.body
    assert (held.request_type, held.modality) == (sample.endpoint.request_type, sample.endpoint.modality)
    assert held.content_type == sample.content_type


@EVERY
async def test_a_submit_that_asks_for_streaming_is_refused_where_the_contract_says_so(api: Api, sample: Sample) -> None:
    answer = await send(api, sample.with_streaming())
    if sample.streams:
        assert_error(answer, 400, "stream")
        assert not api.notifications.notified
    else:
        assert answer.status_code == 202


@EVERY
async def test_the_paths_of_an_endpoint_refuse_other_methods(api: Api, sample: Sample) -> None:
    path = sample.endpoint.path
    one = f"{path}/{UUID(int=7)}"
    for method, target, allowed in [
        ("GET", path, "POST"), ("PUT", path, "POST"), ("DELETE", path, "POST"), ("HEAD", path, "POST"),
        ("POST", one, "GET"), ("DELETE", one, "GET"), ("PATCH", one, "GET"),
    ]:  # fmt: skip
        answer = await api.client.request(method, target)
        assert answer.status_code == 405
        assert allowed in answer.headers["allow"].split(", ")
        if method != "HEAD":
            assert_error(answer, 405, allowed)


@EVERY
async def test_an_empty_request_is_refused_for_its_model(api: Api, sample: Sample) -> None:
    if sample.endpoint.json is not None:
        assert_error(await api.submit(sample.endpoint.path, {}), 400, "'model'")
    assert_error(await api.submit(sample.endpoint.path, b""), 400)
    assert not api.notifications.notified


async def test_a_running_job_is_processing_and_answers_202(api: Api) -> None:
    job_id = (await api.submit(EMBEDDINGS, EMBEDDING)).json()["id"]
    await api.claim(job_id)
    answer = await api.client.get(f"{EMBEDDINGS}/{job_id}")
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    assert set(answer.json()) == {"id", "request_id", "status", "created_at"}
    assert answer.headers["retry-after"] == "1"


async def test_a_failed_job_is_a_200_with_its_error_and_code(api: Api) -> None:
    job_id = (await api.submit(EMBEDDINGS, EMBEDDING)).json()["id"]
    await api.end(job_id, ERROR, status_code=429)
    answer = await api.client.get(f"{EMBEDDINGS}/{job_id}")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["status_code"], body["error"]) == ("failed", 429, json.loads(ERROR))
    assert "result" not in body


async def test_times_are_rfc_3339_in_utc_and_expiry_counts_from_the_end(api: Api) -> None:
    job_id = (await api.submit(EMBEDDINGS, EMBEDDING)).json()["id"]
    await api.end(job_id, result_ttl=120)
    body = (await api.client.get(f"{EMBEDDINGS}/{job_id}")).json()
    created, completed, expires = (
        datetime.fromisoformat(body[name]) for name in ("created_at", "completed_at", "expires_at")
    )
    assert all(body[name].endswith("Z") for name in ("created_at", "completed_at", "expires_at"))
    assert created <= completed
    assert expires - completed == timedelta(seconds=120)


async def test_an_expired_job_is_unknown_even_before_it_is_deleted(api: Api) -> None:
    job_id = (await api.submit(EMBEDDINGS, EMBEDDING)).json()["id"]
    await api.end(job_id, result_ttl=0)
    assert_error(await api.client.get(f"{EMBEDDINGS}/{job_id}"), 404)


async def test_head_answers_like_get_without_a_body(api: Api) -> None:
    job_id = (await api.submit(EMBEDDINGS, EMBEDDING)).json()["id"]
    path = f"{EMBEDDINGS}/{job_id}"
    for body in (None, RESULT, b'{"big":"' + bytes(100_000).replace(b"\0", b"x") + b'"}'):
        if body is not None:
            path = f"{EMBEDDINGS}/{(await api.submit(EMBEDDINGS, EMBEDDING)).json()['id']}"
            await api.end(path.rpartition("/")[2], body)
        get, head = await api.client.get(path), await api.client.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))


async def test_a_large_result_is_streamed_byte_for_byte_with_its_length(api: Api) -> None:
    job_id = (await api.submit(EMBEDDINGS, EMBEDDING)).json()["id"]
    result = b'{"data":"' + b"0123456789abcdef" * 700_000 + b'"}'
    await api.end(job_id, result)
    answer = await api.client.get(f"{EMBEDDINGS}/{job_id}")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content.endswith(b'"result":' + result + b"}")


async def test_a_large_request_is_taken_whole(api: Api) -> None:
    body = json.dumps(EMBEDDING | {"input": "x" * 20_000_000}).encode()
    answer = await api.submit(EMBEDDINGS, body)
    assert answer.status_code == 202
    held = await api.held(answer)
    assert isinstance(held.content, PayloadRef)
    assert await api.store.load(held.content) == body


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
async def test_a_json_route_reads_json_whatever_the_content_type_says(api: Api, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await api.client.post(EMBEDDINGS, content=json.dumps(EMBEDDING).encode(), headers=headers)
    assert answer.status_code == 202


async def test_multipart_on_a_json_route_is_a_415(api: Api) -> None:
    form = SAMPLES["transcription"]
    headers = {"content-type": form.content_type}
    assert_error(await api.client.post(EMBEDDINGS, content=form.body, headers=headers), 415, "JSON")


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "", "multipart/mixed; boundary=x"])
async def test_a_form_route_takes_only_a_form_with_a_boundary(api: Api, content_type: str) -> None:
    headers = {"content-type": content_type}
    answer = await api.client.post("/v1/async/audio/transcriptions", content=b"{}", headers=headers)
    assert_error(answer, 400, "multipart")


async def test_unknown_fields_are_no_error(api: Api) -> None:
    assert (await api.submit(EMBEDDINGS, EMBEDDING | {"odd": {"$where": "1", "a.b": [None]}})).status_code == 202


@pytest.mark.parametrize("sent", ["0", "-1", "abc", "1.5", ""])
async def test_a_ttl_that_is_no_positive_number_means_the_default(api: Api, sent: str) -> None:
    assert await ttl_of(api, sent) == 3600


async def test_a_huge_ttl_is_capped(api: Api) -> None:
    assert {await ttl_of(api, sent) for sent in ("99999999999", "9" * 40)} == {30 * 86400}


async def test_the_ttl_header_sets_how_long_a_result_is_kept(api: Api) -> None:
    assert await ttl_of(api, "120") == 120


async def ttl_of(api: Api, sent: str) -> int:
    answer = await api.submit(EMBEDDINGS, EMBEDDING, x_bf_async_job_result_ttl=sent)
    assert answer.status_code == 202
    return (await api.held(answer)).result_ttl


async def test_the_deadline_header_lowers_the_deadline(api: Api) -> None:
    answer = await api.submit(EMBEDDINGS, EMBEDDING, x_coatcheck_deadline="60")
    held = await api.held(answer)
    assert 0 < held.deadline_in < 61  # two clocks, each in milliseconds
    assert_error(await api.submit(EMBEDDINGS, EMBEDDING, x_coatcheck_deadline="soon"), 400, "x-coatcheck-deadline")


async def test_pass_through_headers_and_extra_params_reach_the_job_without_credentials(api: Api) -> None:
    answer = await api.submit(
        EMBEDDINGS, EMBEDDING, x_bf_eh_X_Trace="7", x_bf_eh_authorization="Bearer x", x_bf_eh_cookie="y",
        x_bf_passthrough_extra_params="true",
    )  # fmt: skip
    held = await api.held(answer)
    assert held.forward == (("x-trace", "7"),)
    assert held.extra_params


async def test_the_request_id_is_adopted_stored_and_returned(api: Api) -> None:
    answer = await api.submit(EMBEDDINGS, EMBEDDING, x_request_id="req-7f31")
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "req-7f31"
    polled = await api.client.get(answer.headers["location"], headers={"x-request-id": "another"})
    assert polled.json()["request_id"] == "req-7f31"
    assert polled.headers["x-request-id"] == "another"


async def test_no_webhook_is_registered_so_naming_one_is_refused(api: Api) -> None:
    assert_error(await api.submit(EMBEDDINGS, EMBEDDING, x_bf_async_webhook="billing"), 400, "webhook")
    assert (await api.submit(EMBEDDINGS, EMBEDDING, x_bf_async_webhook=" ")).status_code == 202


async def test_async_headers_of_the_drop_in_routes_mean_nothing_here(api: Api) -> None:
    answer = await api.submit(EMBEDDINGS, EMBEDDING, x_bf_async="true", x_bf_async_id=str(UUID(int=1)))
    assert answer.status_code == 202


@pytest.mark.parametrize("job_id", ["abc", str(UUID(int=0)), "%00", "%7B" + str(UUID(int=0)) + "%7D", "x" * 3000])
async def test_an_id_that_names_no_job_is_a_404(api: Api, job_id: str) -> None:
    assert_error(await api.client.get(f"{EMBEDDINGS}/{job_id}"), 404)


async def test_a_job_is_found_on_its_own_endpoints_path_only(api: Api) -> None:
    job_id = (await api.submit(EMBEDDINGS, EMBEDDING)).json()["id"]
    answers = [await api.client.get(f"{sample.endpoint.path}/{job_id}") for sample in SAMPLES.values()]
    assert sorted(answer.status_code for answer in answers) == [202] + [404] * 10
    unknown = await api.client.get(f"{EMBEDDINGS}/{UUID(int=0)}")
    assert {answer.content for answer in answers if answer.status_code == 404} == {unknown.content}


def collect_batches() -> float:
    """How often jobs have been read for polls."""
    return REGISTRY.get_sample_value("coatcheck_collect_batch_jobs_count") or 0.0


async def test_a_poll_that_would_rather_wait_is_answered_when_the_job_ends(api: Api) -> None:
    where = (await api.submit(EMBEDDINGS, EMBEDDING)).headers["location"]
    began, looks = time.monotonic(), collect_batches()
    waiting = asyncio.create_task(api.client.get(where, headers={"Prefer": "respond-async, wait=20"}))
    await eventually(lambda: collect_batches() >= looks + 2)
    await api.end(where.rpartition("/")[2])
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert answer.headers["preference-applied"] == "wait=20"
    assert time.monotonic() - began < 15


async def test_a_poll_waits_no_longer_than_it_would(api: Api) -> None:
    where = (await api.submit(EMBEDDINGS, EMBEDDING)).headers["location"]
    answer = await api.client.get(where, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert answer.headers["preference-applied"] == "wait=1"
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("wish", ["", "wait=0", "wait", "wait=soon", "await=9", "handling=lenient"])
async def test_a_poll_without_a_clear_wish_is_answered_at_once(api: Api, wish: str) -> None:
    where = (await api.submit(EMBEDDINGS, EMBEDDING)).headers["location"]
    answer = await api.client.get(where, headers={"Prefer": wish})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
