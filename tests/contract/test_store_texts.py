"""Texts that mean something to somebody, through every path of every store: kept as they are, or refused alone."""

from __future__ import annotations

from uuid import uuid4

import pytest
from msgspec.structs import replace

from shared.domain.content import Content
from shared.domain.job import AttemptRecord, ClaimedJob, ExpiredJob, ExpiryResult, Finish, NewJob, Release, Status
from shared.domain.store_interface import Accepted, Rejected
from shared.domain.target import Target
from tests.support.http_api import Store
from tests.support.jobs import eventually, new_job

ODD = {
    "expression": "$status",
    "variable": "$$ROOT",
    "operator": '{"$where":"sleep(1)"}',
    "dots": "a.b.$[].c",
    "NUL": "a\0b",
    "line breaks": "a\r\nX-Evil: 1\n",
    "escape": "\x1b[31mred\x7f",
    "right to left": "\u202egpj\u2066",
    "beyond the plane": "\U0001f600\U0010ffff\uffff",
    "empty": "",
    "long": "x" * 10_000,
}
SURROGATE = "a\ud800b"


def job_of(store: Store, text: str, *, deadline: float = 3600) -> NewJob:
    """A job that holds the text wherever a text fits in."""
    plain = new_job(store.now(), targets=(Target(text, text, text.encode()),), key_id=text or None, deadline=deadline)
    content = Content("multipart", text.encode(), content_type=text)
    return replace(plain, request_id=text, forward=((text, text),), content=content)


async def claimed(store: Store, job: NewJob, worker: str) -> ClaimedJob:
    (held,) = await eventually(lambda: store.claim([job.id], lease=uuid4(), worker=worker, suspects=False))
    return held


def note(text: str) -> AttemptRecord:
    return AttemptRecord(worker=text, provider=text, outcome=text, milliseconds=1, upstream_request_id=text)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
async def test_a_text_comes_back_as_it_was_from_every_verb(store: Store, text: str) -> None:
    job = job_of(store, text)
    assert await store.submit([(job, None)]) == [Accepted()]
    held = await claimed(store, job, text)
    assert (held.targets, held.forward, held.request_id) == (job.targets, job.forward, text)
    assert (held.content, held.content_type) == (job.content, text)
    release = Release(job.id, held.lease, 0.0, failures=1, target=0, notes=(note(text),))
    assert await store.record([release]) == [True]
    again = await claimed(store, job, text)
    assert (again.targets, again.failures) == (job.targets, 1)
    finish = Finish(job.id, again.lease, Status.FAILED, 500, text.encode(), 60, notes=(note(text),))
    assert await store.record([finish]) == [True]
    view = (await store.collect([job.id]))[job.id]
    assert (view.status, view.key_id, view.request_id, view.body) == (Status.FAILED, text or None, text, text.encode())
    assert await store.confirm(job.id) == view


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
async def test_an_overdue_job_ends_with_the_text_that_explains_it(store: Store, text: str) -> None:
    job = job_of(store, text, deadline=0.1)
    await store.submit([(job, None)])
    seen: list[ExpiredJob] = []

    def explain(overdue: ExpiredJob) -> ExpiryResult:
        seen.append(overdue)
        return ExpiryResult("deadline", 504, text.encode())

    assert await eventually(lambda: store.expire(10, explain)) == {"deadline": 1}
    assert seen[-1].target == job.targets[0]
    assert (await store.collect([job.id]))[job.id].body == text.encode()


@pytest.mark.parametrize(
    "text", [text for text in ODD.values() if text], ids=[name for name, text in ODD.items() if text]
)
async def test_a_channel_of_any_name_is_paused_and_resumed(store: Store, text: str) -> None:
    await store.pause(text, 30)
    assert [pause.channel for pause in await store.pauses()] == [text]
    await store.resume([text])
    assert await store.pauses() == []


@pytest.mark.parametrize("field", ["targets", "request_id", "forward", "content_type", "key_id"])
async def test_what_no_encoding_can_write_is_refused_alone(store: Store, field: str) -> None:
    values = {
        "targets": (Target("openai", SURROGATE),),
        "request_id": SURROGATE,
        "forward": (("x-a", SURROGATE),),
        "content_type": Content("multipart", b"x", content_type=SURROGATE),
        "key_id": SURROGATE,
    }
    name = "content" if field == "content_type" else field
    bad = replace(new_job(store.now()), **{name: values[field]})
    good = [new_job(store.now()) for _ in range(2)]
    first, refused, last = await store.submit([(good[0], None), (bad, None), (good[1], None)])
    assert (first, last) == (Accepted(), Accepted())
    assert isinstance(refused, Rejected)
    assert set(await store.collect([bad.id, *(job.id for job in good)])) == {job.id for job in good}


@pytest.mark.parametrize("text", [SURROGATE, "x" * 17_000_000], ids=["surrogate", "above a document's size"])
async def test_a_note_that_cannot_be_kept_costs_neither_the_result_nor_the_neighbours(store: Store, text: str) -> None:
    """What a provider puts into its headers must not keep a job from ending."""
    jobs = [new_job(store.now()) for _ in range(3)]
    await store.submit([(job, None) for job in jobs])
    held = [await claimed(store, job, "w") for job in jobs]
    records = [Finish(each.id, each.lease, Status.COMPLETED, 200, b"{}", 60) for each in held]
    records[1] = Finish(held[1].id, held[1].lease, Status.COMPLETED, 200, b"{}", 60, notes=(note(text),))
    assert await store.record(records) == [True, True, True]
    views = await store.collect([job.id for job in jobs])
    assert [views[job.id].status for job in jobs] == [Status.COMPLETED] * 3
