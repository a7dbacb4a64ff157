"""The errors that several parts share. Others stand where they are raised and derive from CoatcheckError too."""


class CoatcheckError(Exception):
    """Base of all errors that Coatcheck raises itself."""


class SettingsError(CoatcheckError):
    """A setting is unknown, missing or wrong; the message names it and the fix."""


class StoreUnavailable(CoatcheckError):
    """The database did not answer in time or refused; the outcome may be unknown."""


class Unreadable(CoatcheckError):
    """Something stored cannot be read; the message names the field and what was expected, never its value."""


class Refusal(CoatcheckError):
    """A request that is answered with an error and leaves nothing behind.

    `status` is the HTTP status, `retry_after` (seconds) goes out as a header when set. `code` is one of a fixed set of
    words that programs can tell refusals apart by.
    """

    status = 400
    code = "invalid_request"

    def __init__(self, message: str, *, retry_after: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        if code is not None:
            self.code = code


class BadRequest(Refusal):
    """The request is malformed; the message names field, expectation, what came and the fix."""


class Forbidden(Refusal):
    status = 403
    code = "model_not_allowed"


class NotFound(Refusal):
    """No such job for this caller. One identical text, so that the cause cannot be probed."""

    status = 404
    code = "job_not_found"

    def __init__(self) -> None:
        super().__init__("job not found: the id is unknown, expired, or not visible with this key on this path")


class UnsupportedBody(Refusal):
    status = 415
    code = "unsupported_body"


class KeyConflict(Refusal):
    status = 422
    code = "idempotency_key_reused"


class Overloaded(Refusal):
    """Too much is in flight, or the database is away: come back after `retry_after` seconds."""

    status = 503
    code = "overloaded"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after)
