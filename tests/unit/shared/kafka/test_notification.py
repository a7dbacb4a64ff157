"""The notification record."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kafka.notification import MAX_IDS, BadNotification, decode_notification, encode_notification

notifications = st.lists(st.uuids(), min_size=1, max_size=MAX_IDS)


@given(notifications)
def test_what_is_published_is_what_is_received(ids: list[uuid.UUID]) -> None:
    assert decode_notification(encode_notification(ids)) == tuple(ids)


@given(notifications)
def test_a_notification_is_one_byte_and_sixteen_for_each_id(ids: list[uuid.UUID]) -> None:
    assert len(encode_notification(ids)) == 1 + 16 * len(ids)


@given(st.binary(max_size=1 + 16 * (MAX_IDS + 2)))
def test_any_bytes_are_a_notification_or_a_bad_notification(value: bytes) -> None:
    try:
        ids = decode_notification(value)
    except BadNotification:
        return
    assert encode_notification(ids) == value


@given(st.integers(0, 16 * (MAX_IDS + 2)))
def test_only_whole_ids_from_1_to_64_make_a_notification(size: int) -> None:
    value = b"\x01" + bytes(size)
    if size % 16 == 0 and 1 <= size // 16 <= MAX_IDS:
        assert len(decode_notification(value)) == size // 16
    else:
        with pytest.raises(BadNotification):
            decode_notification(value)


@pytest.mark.parametrize("value", [None, b"", b"\x00" + bytes(16), b"\x02" + bytes(16), b"\x01"])
def test_no_value_an_unknown_version_and_no_ids_are_bad_notifications(value: bytes | None) -> None:
    with pytest.raises(BadNotification):
        decode_notification(value)


@pytest.mark.parametrize("count", [0, MAX_IDS + 1])
def test_a_notification_of_no_or_too_many_ids_cannot_be_made(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        encode_notification([uuid.uuid4()] * count)
