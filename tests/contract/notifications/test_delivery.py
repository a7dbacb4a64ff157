"""What is published is received: shared among listeners, paused, and whatever else lies in the topics."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from uuid import UUID

from tests.contract.notifications.parties import Party, Real, Recorder, counted, ids, until


async def test_what_is_published_is_received_by_those_that_serve_it(party: Party) -> None:
    recorder, other = Recorder(), Recorder()
    publisher = party.publisher()
    await party.listener(recorder, ("text", "ocr"))
    await party.listener(other, ("audio",))
    one, many = ids(1), ids(1000)
    publisher.publish("text", one)
    publisher.publish("ocr", many)
    await until(lambda: len(recorder.received) >= 1001)
    assert set(recorder.received) == {("text", one[0])} | {("ocr", job_id) for job_id in many}
    assert other.received == []


async def test_two_listeners_share_what_is_published(party: Party) -> None:
    recorders = Recorder(), Recorder()
    publisher = party.publisher()
    for recorder in recorders:
        party.join(recorder)
    await until(lambda: [listener.partitions for listener in party.listeners] in ([1, 1], [2, 2]))
    notified = ids(640)
    for start in range(0, 640, 16):
        publisher.publish("text", notified[start : start + 16])
        await asyncio.sleep(0.01)
    await until(lambda: sum(len(recorder.received) for recorder in recorders) >= 640)
    assert sorted(recorders[0].ids + recorders[1].ids) == sorted(notified)
    assert all(recorder.received for recorder in recorders)


async def test_a_paused_listener_receives_nothing_and_goes_on_afterwards(party: Party) -> None:
    recorder = Recorder()
    publisher = party.publisher()
    listener = await party.listener(recorder)
    await party.received_again(publisher, recorder)
    listener.set_paused(True)
    before = list(recorder.received)
    notified = ids(200)
    for job_id in notified:
        publisher.publish("text", [job_id])
    await asyncio.sleep(1.5 * party.notifications.pace)  # longer than a fetch, a poll and a commit may take
    assert recorder.received == before
    listener.set_paused(False)
    await until(lambda: set(notified) <= set(recorder.ids))


async def test_a_listener_may_pause_itself_while_it_receives(party: Party) -> None:
    recorder = Recorder()
    publisher = party.publisher()

    class Shy(Recorder):
        def __call__(self, modality: str, ids: Sequence[UUID]) -> None:
            super().__call__(modality, ids)
            listener.set_paused(True)

    recorder = Shy()
    listener = await party.listener(recorder)
    notified = ids(500)
    for start in range(0, 500, 50):
        publisher.publish("text", notified[start : start + 50])
    for call in itertools.count(1):
        await until(lambda wanted=call: recorder.calls >= wanted)  # type: ignore[misc]
        assert recorder.calls == call
        if len(recorder.received) == 500:
            break
        listener.set_paused(False)
    assert sorted(recorder.ids) == sorted(notified)


async def test_a_record_that_is_no_notification_is_skipped(party: Party) -> None:
    recorder = Recorder()
    publisher = party.publisher()
    await party.listener(recorder)
    bad = counted("notifications_invalid")
    for value in (b"", b"{}", b"\x01" + bytes(15), b"\x02" + bytes(16), b"\x01" + bytes(16 * 65)):
        party.notifications.put("text", value)
    notified = ids(10)
    publisher.publish("text", notified)
    await until(lambda: len(recorder.received) >= 10)
    assert recorder.ids == notified
    if isinstance(party.notifications, Real):
        all_of_them = bad + 5 * party.notifications.settings.kafka_partitions
        await until(lambda: counted("notifications_invalid") >= all_of_them)
