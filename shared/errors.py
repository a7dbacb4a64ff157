"""Every error of our own.

CoatcheckError
├── SettingsError          a setting is unknown, missing or wrong; the message names it and the fix
├── Refusal                an HTTP request is answered with a 4xx or 503 and no job is stored
│   ├── BadRequest         400
│   ├── Forbidden          403
│   ├── NotFound           404, one text for every cause
│   ├── UnsupportedBody    415
│   ├── KeyConflict        422, Idempotency-Key reused for another request
│   ├── Overloaded         503 with Retry-After
│   └── in `edge`: Unauthenticated 401, TooLarge 413, StillRunning 504, DoorRefusal (the guard's)
├── StoreUnavailable       the database did not answer in time or refused; the outcome may be unknown
├── BadBell, BrokersUnavailable, TopicRefused   in `shared.kafka`
├── NotRequeued            in `shared.mongo.operator`
└── ServiceFailed          in `coatcheck.runtime`
"""

from __future__ import annotations


class CoatcheckError(Exception):
    """Base of all errors that Coatcheck raises itself."""


class SettingsError(CoatcheckError):
    """A setting is unknown, missing or wrong."""


class StoreUnavailable(CoatcheckError):
    """The database did not answer in time or refused the operation."""


class Refusal(CoatcheckError):
    """A request that is answered with an error and leaves nothing behind.

    `status` is the HTTP status, `retry_after` (seconds) goes out as a header when set.
    """

    status = 400

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class BadRequest(Refusal):
    """The request is malformed; the message names field, expectation, what came and the fix."""


class Forbidden(Refusal):
    """The virtual key may not do this."""

    status = 403


class NotFound(Refusal):
    """No such job for this caller. One identical text, so that the cause cannot be probed."""

    status = 404

    def __init__(self) -> None:
        super().__init__("job not found: the id is unknown, expired, or not visible with this key on this path")


class UnsupportedBody(Refusal):
    """The body's media type does not fit the endpoint."""

    status = 415


class KeyConflict(Refusal):
    """The Idempotency-Key was used for another request before."""

    status = 422


class Overloaded(Refusal):
    """Too much is in flight, or the database is away: come back after `retry_after` seconds."""

    status = 503

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after)
