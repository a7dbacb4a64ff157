"""The catalogue: eleven rows that agree with one another."""

from __future__ import annotations

import msgspec
import pytest

from shared.domain.catalogue import BY_TYPE, CATALOGUE, MODALITIES, Endpoint


def test_there_are_eleven_endpoints_with_paths_and_types_of_their_own() -> None:
    assert len(CATALOGUE) == len(BY_TYPE) == len({endpoint.path for endpoint in CATALOGUE}) == 11
    assert MODALITIES == ("text", "embeddings", "audio", "images", "rerank", "ocr")


@pytest.mark.parametrize("endpoint", CATALOGUE, ids=lambda endpoint: endpoint.request_type)
def test_every_endpoint_has_one_kind_of_body_and_knows_its_model_field(endpoint: Endpoint) -> None:
    assert (endpoint.json is None) is not (endpoint.form is None)
    assert {"model", "fallbacks"} <= endpoint.known_fields


@pytest.mark.parametrize(
    "endpoint", [each for each in CATALOGUE if each.json], ids=lambda endpoint: endpoint.request_type
)
def test_an_empty_object_decodes_and_is_told_what_is_missing(endpoint: Endpoint) -> None:
    assert endpoint.json is not None
    body = msgspec.json.decode(b"{}", type=endpoint.json)
    problem = body.missing("openai")
    assert problem is not None
    assert "expected" in problem
