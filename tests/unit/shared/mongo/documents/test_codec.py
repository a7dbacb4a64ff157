"""What is encoded by hand is what the library would make of it."""

from __future__ import annotations

from datetime import UTC
from uuid import UUID

import bson
import pytest
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from shared.mongo.documents import codec
from tests.support.fakes.store import FakeClock
from tests.support.jobs import new_job

STANDARD: CodecOptions[dict[str, object]] = CodecOptions(
    tz_aware=True, tzinfo=UTC, uuid_representation=UuidRepresentation.STANDARD
)
NOW = FakeClock().now()


@given(st.lists(st.uuids(), max_size=130))
def test_a_filter_of_ids_is_the_librarys(ids: list[UUID]) -> None:
    assert codec.with_ids(ids).raw == bson.encode({"_id": {"$in": ids}}, codec_options=STANDARD)


def test_a_new_job_is_one_document_with_its_id_first() -> None:
    job = new_job(NOW, key_id="key")
    encoded = codec.encode_new(job, None)
    stored = bson.decode(encoded, STANDARD)
    assert next(iter(stored.items())) == ("_id", job.id)
    assert bson.encode(stored, codec_options=STANDARD) == encoded
    assert stored["request"] == {"kind": "json", "content_type": "application/json", "data": job.content.data}


@pytest.mark.parametrize("ended", [True, False])
def test_a_view_has_times_with_a_zone(ended: bool) -> None:
    job = new_job(NOW)
    stored = bson.decode(codec.encode_new(job, None), STANDARD)
    if ended:
        stored |= {"status": "completed", "completed_at": NOW, "expires_at": NOW, "result": {"data": b"{}"}}
    read = bson.decode(bson.encode(stored, codec_options=STANDARD), codec.PLAIN_CODEC)
    view = codec.decode_view(read, job.id)
    assert (view.id, view.created_at, view.request_id) == (job.id, job.created_at, job.request_id)
    assert (view.completed_at, view.expires_at, view.body) == ((NOW, NOW, b"{}") if ended else (None, None, None))
