"""Log lines on stderr: text on a terminal, JSON otherwise; bounded in length, never with a secret in them."""

import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from shared.settings.table import Settings
from shared.telemetry.redaction import GONE, hide, is_secret_name, redact, secrets_in

OURS = ("coatcheck", "edge", "workers", "shared")
"""Loggers that follow the level setting. All others write warnings only: some drivers log payloads at debug."""

MAX_MESSAGE = 2000
MAX_TRACEBACK = 6000
MAX_VALUE = 300
MAX_EXTRAS = 24
"""Bounds in characters, and in fields that a line may carry beside its message."""

_EXAMINED = 4
"""Times the bound that is searched for secrets, so that none is cut into a harmless looking half."""
_INT64 = 1 << 63
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {9: " ", 10: "\\n", 13: "\\r"}
_CONTROL_BUT_NEWLINE = {code: text for code, text in _CONTROL.items() if code not in (9, 10)}


def configure(settings: Settings, *, component: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process to stderr as the settings say. The last call counts."""
    hide(secrets_in(settings))
    target = stream or sys.stderr
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and target.isatty())
    handler = _Handler(target)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter(component))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level.upper())


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk or a closed pipe loses lines and nothing else."""


class TextFormatter(logging.Formatter):
    """One line for people: time, level, where from, message, fields. A traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        where = record.name.rpartition(".")[2]
        fields = "".join(f"  {name}={value}" for name, value in _extras(record))
        line = f"{clock} {record.levelname:<7} {where:<9} {_message(record)}{fields}".translate(_CONTROL)
        trace = _traceback(record)
        return f"{line}\n{trace.translate(_CONTROL_BUT_NEWLINE)}" if trace else line


class JsonFormatter(logging.Formatter):
    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        """A field never replaces one of the fixed five."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = dict(_extras(record)) | {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "component": self._component,
            "logger": record.name,
            "message": _message(record),
        }
        if trace := _traceback(record):
            line["traceback"] = trace
        return msgspec.json.encode(line).decode()


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # a wrong number of arguments must not cost the line
        text = f"{record.msg} (arguments do not fit)"
    return _bounded(text, MAX_MESSAGE)


def _extras(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    extras = [(name, value) for name, value in vars(record).items() if name not in _OF_EVERY_RECORD]
    for name, value in extras[:MAX_EXTRAS]:
        if is_secret_name(name):
            yield name, GONE
        elif value is None or isinstance(value, float) or (isinstance(value, int) and -_INT64 < value < _INT64):
            yield name, value
        else:
            yield name, _bounded(str(value), MAX_VALUE)


def _traceback(record: logging.LogRecord) -> str:
    """The end of the traceback, where the error is named."""
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    text = logging.Formatter().formatException(record.exc_info)
    return redact(text[-MAX_TRACEBACK * _EXAMINED :])[-MAX_TRACEBACK:]


def _bounded(text: str, limit: int) -> str:
    text = redact(text[: limit * _EXAMINED])
    return text if len(text) <= limit else f"{text[:limit]}..."
