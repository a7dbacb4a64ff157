"""Makes log records as the logging package would."""

from __future__ import annotations

import logging
import sys
from typing import Any


def record_with(
    message: str, argument: object = None, extra: dict[str, Any] | None = None, error: Exception | None = None
) -> logging.LogRecord:
    """A record of level error, with everything that may carry text."""
    raised: Any = None
    if error is not None:
        try:
            raise error
        except Exception:
            raised = sys.exc_info()
    arguments = () if argument is None else (argument,)
    template = f"{message.replace('%', '%%')} %s" if arguments else message
    return logging.getLogger("coatcheck.jobs").makeRecord(
        "coatcheck.jobs", logging.ERROR, __file__, 1, template, arguments, raised, extra=extra
    )
