"""Which server a command talks to as a client, and how the client's errors end the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from coatcheck_client import ApiError, CoatcheckError, Unreachable, WaitTimeout

from coatcheck.cli.beside import url_of_stack
from coatcheck.cli.filled import filled
from coatcheck.cli.main import TIMED_OUT, USAGE

Command = TypeVar("Command", bound=Callable[..., Any])

MAY_PASS = frozenset({408, 429})
"""4xx answers that are about the moment and not about the request."""


class AskedWrong(click.ClickException):
    """Ends a command with one line: what was asked for cannot be."""

    exit_code = USAGE


class TimedOut(click.ClickException):
    """Ends a command with one line: the time given to it is over."""

    exit_code = TIMED_OUT


def server_options(command: Command) -> Command:
    url = click.option(
        "--url",
        metavar="URL",
        callback=lambda context, option, value: filled(context, option, value) or url_of_stack(),
        help="Address of the server.  [default: COATCHECK_URL, else the stack that runs here, http://127.0.0.1:8080]",
    )
    key = click.option(
        "--key",
        callback=filled,
        metavar="KEY",
        help="Virtual key.  [default: COATCHECK_API_KEY, which no process list shows]",
    )
    return url(key(command))


@contextmanager
def client_errors() -> Iterator[None]:
    """Turn what the client raises into one line and an exit code."""
    try:
        yield
    except WaitTimeout as error:
        raise TimedOut(f"{error}: `coatcheck get {error.job.ticket} --wait` goes on") from None
    except Unreachable as error:
        raise click.ClickException(f"{error}: is it running? `coatcheck dev` starts one here") from None
    except CoatcheckError as error:
        asked_wrong = isinstance(error, ApiError) and 400 <= error.status < 500 and error.status not in MAY_PASS
        raise (AskedWrong if asked_wrong else click.ClickException)(str(error)) from None
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None
