"""What one answer to a client says: a job, its state, a fingerprint of its end, and whether it is that client's own."""

from __future__ import annotations

import hashlib

import msgspec

from coatcheck.drill.load.http import Answer
from coatcheck.drill.model.requests import wrong_error, wrong_result
from coatcheck.drill.model.ticket import TERMINAL, Ticket


class Envelope(msgspec.Struct):
    """The answer to a submit or a poll. The body of an ended job stays as it came."""

    id: str
    status: str
    request_id: str = ""
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def why(self) -> str:
        wrong = msgspec.json.decode(self.error) or {}
        return str(wrong.get("error", {}).get("message", ""))


def envelope_of(answer: Answer) -> Envelope:
    return msgspec.json.decode(answer.body, type=Envelope)


def seen(answer: Answer) -> tuple[str, str]:
    """The status in an answer and, of an ended job, a fingerprint of every byte that the API says about it."""
    status = envelope_of(answer).status
    return status, hashlib.blake2b(answer.body, digest_size=16).hexdigest() if status in TERMINAL else ""


def wrong_answer(ticket: Ticket, job_id: str, answer: Answer) -> str:
    """What is not the client's own in the answer to its poll: another job, another request's id, result or error."""
    envelope = envelope_of(answer)
    if envelope.id != job_id:
        return f"the job {envelope.id}"
    if envelope.request_id.startswith("drill-") and envelope.request_id != ticket.key:
        return f"the request id {envelope.request_id}"
    if envelope.status == "completed":
        return wrong_result(ticket.carries, bytes(envelope.result))
    return wrong_error(ticket.key, bytes(envelope.error))
