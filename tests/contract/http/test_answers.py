"""What is the same for all routes: errors, methods, paths, health, documents, browsers, overload and outages."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator

import pytest

from shared.domain.catalogue import CATALOGUE
from tests.contract.http.test_api import assert_error
from tests.support.fakes.store import FakeStore
from tests.support.http_api import Api
from tests.support.jobs import eventually
from tests.support.requests import EMBEDDING, EMBEDDINGS, JSON_BODIES


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/v1/async", "/v1/async/nosuch", "/v1/async/embedings", "//v1/async/embeddings",
             "/V1/async/embeddings", "/v1/async/embeddings/x/y", "/%2e%2e/etc", "/\xfc"],
)  # fmt: skip
async def test_an_unknown_path_is_a_404_in_the_contracts_form(api: Api, path: str) -> None:
    for method in ("GET", "POST"):
        assert_error(await api.client.request(method, path), 404)


async def test_a_path_with_a_slip_gets_a_suggestion(api: Api) -> None:
    assert_error(await api.submit("/v1/async/embedings", EMBEDDING), 404, "did you mean /v1/async/embeddings?")


@pytest.mark.parametrize("accept", ["application/xml", "image/png", "text/html", "", "*/*;q=0"])
async def test_errors_are_json_whatever_the_client_accepts(api: Api, accept: str) -> None:
    answer = await api.client.post(EMBEDDINGS, content=b"{", headers={"accept": accept})
    assert_error(answer, 400, "not valid JSON")


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PATCH", "FOO", "PROPFIND", "get", "M" * 300])
async def test_a_method_that_nothing_answers_is_a_405(api: Api, method: str) -> None:
    request = api.client.build_request("GET", EMBEDDINGS)
    request.method = method
    answer = await api.client.send(request)
    assert_error(answer, 405, method[:20], "POST")
    assert answer.headers["allow"] == "POST, OPTIONS"


async def test_the_frameworks_pseudo_method_is_unknown_like_any_other(api: Api) -> None:
    assert_error(await api.client.request("WEBSOCKET", EMBEDDINGS), 405)


async def test_options_names_the_methods_and_no_origin(api: Api) -> None:
    headers = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    answer = await api.client.options(EMBEDDINGS, headers=headers)
    assert answer.status_code == 200
    assert "POST" in answer.headers["allow"]
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_every_answer_has_a_request_id_that_cannot_forge_anything(api: Api) -> None:
    for path in (EMBEDDINGS, "/livez", "/nowhere"):
        first, second = [await api.client.get(path) for _ in range(2)]
        assert re.fullmatch(r"[0-9a-f-]{36}", first.headers["x-request-id"])
        assert first.headers["x-request-id"] != second.headers["x-request-id"]
    odd = await api.client.get("/livez", headers=[(b"x-request-id", b"a\xffb")])
    assert re.fullmatch(r"[0-9a-f-]{36}", odd.headers["x-request-id"])


async def test_alive_ready_and_healthy(api: Api) -> None:
    assert (await api.client.get("/livez")).json() == {"status": "ok"}
    assert (await api.client.get("/readyz")).json() == {"status": "ok"}
    health = await api.client.get("/health")
    assert (health.status_code, health.json()) == (200, {"status": "ok", "components": {"db_pings": "ok"}})
    assert (await api.client.head("/readyz")).status_code == 200


async def test_the_document_names_every_route_of_the_catalogue(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    for endpoint in CATALOGUE:
        assert "202" in document["paths"][endpoint.path]["post"]["responses"]
        assert "404" in document["paths"][f"{endpoint.path}/{{job_id}}"]["get"]["responses"]


async def test_the_page_needs_no_script_and_no_network(api: Api) -> None:
    page = await api.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    foreign = page.text.replace(f"http://{page.request.url.netloc.decode()}/", "")
    assert not re.search(r"<script|<link|<img|@import|url\(|src=|https?://", foreign)
    for endpoint in CATALOGUE:
        assert endpoint.path in page.text


@pytest.mark.parametrize("host", ["gate.example.com", "10.0.0.7:8443", "[2001:db8::7]:8080"])
async def test_the_page_shows_the_address_under_which_it_is_read(api: Api, host: str) -> None:
    page = await api.client.get("/docs", headers={"host": host})
    assert f"curl -i http://{host}/v1/async/embeddings" in page.text
    assert "localhost:8080" not in page.text
    assert "Host" in page.headers["vary"]


@pytest.mark.parametrize("host", ["<b>x</b>", "a b", "x/../y", "a'; rm -rf /"])
async def test_what_is_no_address_is_not_repeated(api: Api, host: str) -> None:
    page = await api.client.get("/docs", headers={"host": host})
    assert page.status_code == 400 or "curl -i http://localhost:8080/v1/async/embeddings" in page.text


class TestWithAllowedOrigins:
    """Browsers of one origin may call."""

    @pytest.fixture
    def edge_settings(self) -> dict[str, object]:
        return {"cors_origins": ("https://app.example",)}

    async def test_only_a_listed_origin_is_allowed(self, api: Api) -> None:
        ours = await api.submit(EMBEDDINGS, EMBEDDING, origin="https://app.example")
        assert ours.headers["access-control-allow-origin"] == "https://app.example"
        assert "Location" in ours.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in ours.headers
        theirs = await api.submit(EMBEDDINGS, EMBEDDING, origin="https://evil.example")
        assert "access-control-allow-origin" not in theirs.headers
        none = await api.submit(EMBEDDINGS, EMBEDDING)
        assert [answer.headers["vary"] for answer in (ours, theirs, none)] == ["Origin"] * 3

    async def test_what_the_guard_refuses_can_be_read_by_a_listed_origin_only(self, api: Api) -> None:
        for status, headers in {415: {"content_encoding": "gzip"}, 413: {"content_length": "999999999"}}.items():
            ours = await api.submit(EMBEDDINGS, EMBEDDING, origin="https://app.example", **headers)
            assert_error(ours, status)
            assert ours.headers["access-control-allow-origin"] == "https://app.example"
            assert "x-request-id" in ours.headers["access-control-expose-headers"]
            theirs = await api.submit(EMBEDDINGS, EMBEDDING, origin="https://evil.example", **headers)
            assert "access-control-allow-origin" not in theirs.headers
            assert [answer.headers["vary"] for answer in (ours, theirs)] == ["Origin"] * 2

    async def test_a_preflight_is_answered(self, api: Api) -> None:
        headers = {
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, idempotency-key",
        }
        answer = await api.client.options(EMBEDDINGS, headers=headers)
        assert answer.status_code == 200
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "idempotency-key" in answer.headers["access-control-allow-headers"]


class TestInTrouble:
    """Only the store in memory breaks on demand."""

    @pytest.fixture
    def api(self, fake_api: Api) -> Api:
        return fake_api

    @pytest.fixture
    def store(self, fake_api: Api) -> FakeStore:
        assert isinstance(fake_api.store, FakeStore)
        return fake_api.store

    async def test_while_the_database_is_away_everything_that_needs_it_is_a_503(
        self, api: Api, store: FakeStore
    ) -> None:
        location = (await api.submit(EMBEDDINGS, EMBEDDING)).headers["location"]
        store.faults.down = True
        answers = [
            await api.submit(EMBEDDINGS, EMBEDDING),
            await api.submit(EMBEDDINGS, EMBEDDING | {"input": "x" * 20_000}),
            await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="k"),
            await api.submit(EMBEDDINGS, EMBEDDING, x_bf_vk="sk-bf-one"),
            await api.client.get(location),
            await api.client.get("/readyz"),
            await api.client.get("/health"),
        ]
        for answer in answers:
            assert_error(answer, 503)
            assert answer.headers["retry-after"] == "1"
        assert (await api.client.get("/livez")).status_code == 200
        store.faults.down = False
        assert (await api.client.get(location)).status_code == 202

    async def test_a_crash_is_a_500_that_tells_the_log_and_not_the_client(
        self, api: Api, store: FakeStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def crash(verb: str) -> None:
            raise RuntimeError("mongodb://user:password@host")

        store.faults.before = crash
        with caplog.at_level(logging.ERROR):
            answer = await api.submit(EMBEDDINGS, EMBEDDING)
        assert_error(answer, 500, "internal error")
        assert "password" not in answer.text
        assert answer.headers["x-request-id"] in caplog.text

    async def test_a_result_whose_chunks_are_gone_is_an_error_and_not_a_cut_answer(
        self, api: Api, store: FakeStore
    ) -> None:
        ticket = (await api.submit(EMBEDDINGS, EMBEDDING)).json()
        await api.end(ticket["id"], b'{"a":"' + b"x" * 100_000 + b'"}')
        store.payloads.clear()
        assert_error(await api.client.get(f"{EMBEDDINGS}/{ticket['id']}"), 500)

    async def test_submits_that_come_together_share_their_writes(self, api: Api, store: FakeStore) -> None:
        answers = await asyncio.gather(
            *[api.submit(EMBEDDINGS, EMBEDDING | {"model": f"openai/m{number}"}) for number in range(10)]
        )
        assert {answer.status_code for answer in answers} == {202}
        assert store.calls["submit"] < 10

    async def test_a_client_that_hangs_up_leaves_one_whole_job(self, api: Api, store: FakeStore) -> None:
        go_on = asyncio.Event()

        async def hold(verb: str) -> None:
            await go_on.wait()

        store.faults.before = hold
        call = asyncio.create_task(api.submit(EMBEDDINGS, EMBEDDING | {"input": "x" * 20_000}))
        await eventually(lambda: store.calls["save_request"] == 1)
        call.cancel()
        go_on.set()
        await eventually(lambda: len(store.jobs) == 1)
        assert len(api.notifications.notified) == 1


class TestWithSmallLimits:
    """The guard in front fits the settings."""

    @pytest.fixture
    def edge_settings(self) -> dict[str, object]:
        return {"max_request_bytes": 1000}

    async def test_a_body_above_the_limit_is_a_413(self, api: Api) -> None:
        assert (await api.submit(EMBEDDINGS, EMBEDDING)).status_code == 202
        assert_error(await api.submit(EMBEDDINGS, EMBEDDING | {"input": "x" * 1000}), 413, "1000")

    async def test_a_body_above_the_limit_without_a_length_is_a_413(self, api: Api) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 100

        answer = await api.client.post(EMBEDDINGS, content=chunks())
        assert_error(answer, 413)

    async def test_a_compressed_body_is_a_415(self, api: Api) -> None:
        assert_error(await api.submit(EMBEDDINGS, EMBEDDING, content_encoding="gzip"), 415, "Content-Encoding")


async def test_a_cut_body_never_becomes_a_job(api: Api) -> None:
    headers = {"content-length": "9999"}
    answer = await api.client.post(EMBEDDINGS, content=json.dumps(EMBEDDING).encode(), headers=headers)
    assert_error(answer, 400, "9999")
    assert not api.notifications.notified


async def test_a_full_modality_takes_no_more_jobs_until_it_has_room_again(api: Api) -> None:
    await api.store.publish_backpressure({"embeddings"})
    try:
        await api.backpressure.look(api.store)
    finally:
        await api.store.publish_backpressure(())
    refused = await api.submit(EMBEDDINGS, EMBEDDING)
    assert_error(refused, 503, "too many embeddings jobs wait already")
    assert refused.headers["retry-after"] == "10"
    chat = JSON_BODIES["chat_completion"]
    assert (await api.submit("/v1/async/chat/completions", chat)).status_code == 202
    await api.backpressure.look(api.store)
    assert (await api.submit(EMBEDDINGS, EMBEDDING)).status_code == 202


@pytest.mark.parametrize(
    ("status", "body", "code", "param"),
    [
        (400, b"{", "invalid_json", None),
        (400, EMBEDDING | {"model": ""}, "missing_required_parameter", "model"),
        (400, {"model": EMBEDDING["model"]}, "missing_required_parameter", "input"),
        (400, EMBEDDING | {"dimensions": "many"}, "invalid_type", "dimensions"),
        (400, EMBEDDING | {"model": "nobody/m"}, "model_not_found", "model"),
        (400, EMBEDDING | {"model": "m"}, "model_not_found", "model"),
    ],
)
async def test_a_program_can_tell_what_is_wrong_with_its_request(
    api: Api, status: int, body: object, code: str, param: str | None
) -> None:
    answer = await api.submit(EMBEDDINGS, body)
    assert_error(answer, status)
    error = answer.json()["error"]
    assert (error["type"], error["code"], error.get("param")) == ("invalid_request_error", code, param)


async def test_every_refusal_has_a_type_and_a_code(api: Api) -> None:
    answers = [
        await api.client.get("/nowhere"),
        await api.client.get(f"{EMBEDDINGS}/nothing"),
        await api.client.get(EMBEDDINGS),
        await api.submit(EMBEDDINGS, EMBEDDING, content_encoding="gzip"),
        await api.submit(EMBEDDINGS, EMBEDDING, content_type="multipart/form-data"),
        await api.submit(EMBEDDINGS, EMBEDDING, x_coatcheck_deadline="soon"),
    ]
    errors = [answer.json()["error"] for answer in answers]
    assert [(error["type"], error["code"]) for error in errors] == [
        ("not_found_error", "no_such_route"),
        ("not_found_error", "job_not_found"),
        ("invalid_request_error", "method_not_allowed"),
        ("invalid_request_error", "content_encoding"),
        ("invalid_request_error", "unsupported_body"),
        ("invalid_request_error", "invalid_request"),
    ]
    assert errors[-1]["param"] == "x-coatcheck-deadline"


async def test_a_slash_at_the_end_of_a_path_is_ignored(api: Api) -> None:
    submitted = await api.submit(EMBEDDINGS + "/", EMBEDDING)
    assert submitted.status_code == 202
    assert submitted.headers["location"] == f"{EMBEDDINGS}/{submitted.json()['id']}"
    assert (await api.client.get(submitted.headers["location"] + "/")).status_code == 202
    assert_error(await api.client.get(EMBEDDINGS + "/"), 405, "use POST")
