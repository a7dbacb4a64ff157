"""Virtual keys over HTTP: who may submit what, and who sees which job."""

from __future__ import annotations

from typing import Any

import pytest

from edge.submit import auth
from tests.contract.http.test_api import assert_error
from tests.support.http_api import Api
from tests.support.requests import EMBEDDING, EMBEDDINGS


def every_form(secret: str) -> list[dict[str, str]]:
    return [
        {"x-bf-vk": secret},
        {"authorization": f"Bearer {secret}"},
        {"x-api-key": secret},
        {"x-goog-api-key": secret},
        {"api-key": secret},
    ]


async def test_a_scoped_job_opens_with_its_own_key_in_any_header_and_with_nothing_else(api: Api) -> None:
    _, one = await api.keys.create()
    _, two = await api.keys.create()
    location = (await api.submit(EMBEDDINGS, EMBEDDING, x_bf_vk=one)).headers["location"]
    for headers in every_form(one):
        assert (await api.client.get(location, headers=headers)).status_code == 202
    bodies = set()
    for headers in [*every_form(two), {"x-bf-vk": "sk-bf-nonexistent"}, {"authorization": "Bearer sk-other"}, {}]:
        answer = await api.client.get(location, headers=headers)
        assert_error(answer, 404)
        bodies.add(answer.content)
    assert len(bodies) == 1


async def test_a_public_job_opens_with_any_key_or_none(api: Api) -> None:
    _, one = await api.keys.create()
    location = (await api.submit(EMBEDDINGS, EMBEDDING, authorization="Bearer sk-other")).headers["location"]
    for headers in [{}, {"x-bf-vk": one}, {"x-bf-vk": "sk-bf-nonexistent"}]:
        assert (await api.client.get(location, headers=headers)).status_code == 202


@pytest.mark.parametrize("form", range(5))
async def test_an_unknown_key_at_submit_is_a_400_and_no_job(api: Api, form: int) -> None:
    answer = await api.client.post(EMBEDDINGS, json=EMBEDDING, headers=every_form("sk-bf-nonexistent")[form])
    assert_error(answer, 400, "virtual key")
    assert "nonexistent" not in answer.text
    assert not api.notifications.notified


async def test_a_request_that_is_wrong_anyway_says_so_before_its_key_is_looked_at(api: Api) -> None:
    assert_error(await api.submit(EMBEDDINGS, {}, x_bf_vk="sk-bf-nonexistent"), 400, "'model'")


async def test_a_key_with_a_list_of_models_may_use_those_and_gets_403_for_others(api: Api) -> None:
    _, secret = await api.keys.create(["openai/text-embedding-3-small", "cohere/*"])
    assert (await api.submit(EMBEDDINGS, EMBEDDING, x_bf_vk=secret)).status_code == 202
    notified = len(api.notifications.notified)
    answer = await api.submit(EMBEDDINGS, EMBEDDING | {"model": "openai/other"}, x_bf_vk=secret)
    assert_error(answer, 403, "openai/other")
    assert len(api.notifications.notified) == notified


async def test_models_are_listed_as_far_as_the_key_allows(api: Api) -> None:
    _, secret = await api.keys.create(["openai/gpt-4o-mini"])
    for path in ("/v1/models", "/openai/v1/models"):
        everything = (await api.client.get(path)).json()
        assert everything["object"] == "list"
        assert [each["id"] for each in everything["data"]] == [
            "cohere/rerank-english-v3.0",
            "openai/gpt-4o-mini",
            "openai/text-embedding-3-small",
        ]
        assert all(set(each) == {"id", "object", "created", "owned_by"} for each in everything["data"])
        mine: dict[str, Any] = (await api.client.get(path, headers={"x-bf-vk": secret})).json()
        assert [each["id"] for each in mine["data"]] == ["openai/gpt-4o-mini"]
        assert_error(await api.client.get(path, headers={"x-bf-vk": "sk-bf-nonexistent"}), 401)


async def test_a_revoked_key_ends_within_5_seconds(api: Api) -> None:
    key_id, secret = await api.keys.create()
    location = (await api.submit(EMBEDDINGS, EMBEDDING, x_bf_vk=secret)).headers["location"]
    await api.keys.revoke(key_id)
    api.clock.passed += auth.KNOWN_SECONDS
    assert_error(await api.submit(EMBEDDINGS, EMBEDDING, x_bf_vk=secret), 400, "revoked")
    assert_error(await api.client.get(location, headers={"x-bf-vk": secret}), 404)


@pytest.mark.parametrize("secret", ["\xff\xfe", "sk-bf-" + "k" * 4000, "sk-bf-\xe9", " "])
async def test_no_key_however_odd_is_more_than_a_4xx(api: Api, secret: str) -> None:
    raw = {b"x-bf-vk": secret.encode("latin-1"), b"content-type": b"application/json"}
    answer = await api.client.post(EMBEDDINGS, json=EMBEDDING, headers=list(raw.items()))
    assert answer.status_code in (202, 400)


class TestWithoutAnonymousCallers:
    """Keys are required."""

    @pytest.fixture
    def edge_settings(self) -> dict[str, object]:
        return {"allow_anonymous": False}

    async def test_a_submit_without_a_key_is_a_401_that_says_how(self, api: Api) -> None:
        for headers in ({}, {"authorization": "Bearer sk-other"}, {"authorization": "Basic x"}):
            for path in (EMBEDDINGS, "/openai/v1/responses"):
                answer = await api.client.post(path, json=EMBEDDING, headers=headers)
                assert_error(answer, 401, "sk-bf-")
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert_error(await api.client.get("/v1/models"), 401)
        assert not api.notifications.notified

    async def test_a_missing_key_is_said_before_anything_about_the_body(self, api: Api) -> None:
        assert_error(await api.submit(EMBEDDINGS, b"{"), 401)

    async def test_with_a_key_everything_works(self, api: Api) -> None:
        _, secret = await api.keys.create()
        answer = await api.submit(EMBEDDINGS, EMBEDDING, authorization=f"Bearer {secret}")
        assert answer.status_code == 202
        assert_error(await api.client.get(answer.headers["location"]), 404)

    async def test_health_needs_no_key(self, api: Api) -> None:
        for path in ("/livez", "/readyz", "/health", "/openapi.json", "/docs"):
            assert (await api.client.get(path)).status_code == 200
