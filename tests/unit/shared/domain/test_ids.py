"""Job ids: order, secrecy and derivation."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ids import age_seconds, keyed_job_id, new_job_id, parse_job_id


@given(st.floats(0, 2e11))
def test_an_id_is_a_version_7_uuid_that_carries_its_time(now: float) -> None:
    job_id = new_job_id(now)
    assert job_id.version == 7
    assert job_id.variant == uuid.RFC_4122
    age = age_seconds(job_id, now)
    assert age is not None
    assert -0.01 < age < 0.01


def test_ids_of_one_millisecond_share_nothing_but_the_time() -> None:
    ids = {new_job_id(1.0).int & ((1 << 62) - 1) for _ in range(1000)}
    assert len(ids) == 1000
    assert len({number >> 40 for number in ids}) > 990


def test_later_ids_sort_after_earlier_ones() -> None:
    assert new_job_id(1.0) < new_job_id(1.002) < new_job_id(2.0)


@given(secret=st.binary(min_size=32, max_size=32), key=st.text(), other=st.text())
def test_a_derived_id_depends_on_secret_caller_and_key(secret: bytes, key: str, other: str) -> None:
    key, other = (text.encode("ascii", "ignore").decode() for text in (key, other))
    derived = keyed_job_id(secret, "k1", key)
    assert derived == keyed_job_id(secret, "k1", key)
    assert (derived.version, derived.variant) == (8, uuid.RFC_4122)
    assert derived != keyed_job_id(secret, "k2", key)
    assert derived != keyed_job_id(bytes(32) if any(secret) else b"1" * 32, "k1", key)
    assert (derived == keyed_job_id(secret, "k1", other)) is (key == other)
    assert age_seconds(derived, 0) is None


@given(st.text(max_size=60))
def test_only_the_canonical_form_is_an_id(text: str) -> None:
    parsed = parse_job_id(text)
    assert parsed is None or str(parsed) == text.lower()


def test_braces_dashless_and_urn_forms_are_refused() -> None:
    job_id = str(new_job_id())
    assert parse_job_id(job_id.upper()) == uuid.UUID(job_id)
    assert not any(map(parse_job_id, ("{" + job_id + "}", job_id.replace("-", ""), "urn:uuid:" + job_id, "", "abc")))
