"""The command `coatcheck`: which commands there are, and how errors end it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from coatcheck import __version__
from coatcheck.cli.lazy import Entry, LazyGroup
from shared.errors import CoatcheckError, SettingsError

OK, FAILED, USAGE, TIMED_OUT = range(4)
"""Exit codes of every command."""
INTERRUPTED = 130

SECTIONS = {
    "Start": {
        "dev": Entry("coatcheck.cli.dev:dev", "Run everything on this machine, database and broker included"),
        "init": Entry("coatcheck.cli.init:init", "Create or check indexes and topics"),
        "edge": Entry("coatcheck.cli.edge:edge", "Run an edge: the HTTP API"),
        "worker": Entry("coatcheck.cli.worker:worker", "Run a worker: claims jobs and calls providers"),
        "keeper": Entry("coatcheck.cli.keeper:keeper", "Run a keeper: ends what is overdue, counts what waits"),
    },
    "Use": {
        "submit": Entry("coatcheck.cli.client_commands:submit", "Submit a job"),
        "get": Entry("coatcheck.cli.client_commands:get", "Show a job and its result"),
        "batch": Entry("coatcheck.cli.batch:batch", "Run a file of requests in OpenAI's Batch format"),
    },
    "Operate": {
        "keys": Entry("coatcheck.cli.keys:keys", "Create, list, revoke and rotate virtual keys"),
        "providers": Entry("coatcheck.cli.providers:providers", "Check the configured providers"),
        "config": Entry("coatcheck.cli.config:config", "Show, check and document the settings"),
        "job": Entry("coatcheck.cli.jobs:job", "Show the whole history of a job"),
        "dead": Entry("coatcheck.cli.jobs:dead", "List failed jobs, or submit them once more"),
        "top": Entry("coatcheck.cli.top:top", "Watch what waits and what runs"),
        "drill": Entry("coatcheck.cli.drill:drill", "Try to lose a job: kill everything and count"),
        "doctor": Entry("coatcheck.cli.doctor:doctor", "Find out what is wrong, and what to do about it"),
        "version": Entry("coatcheck.cli.version:version", "Show the version"),
    },
}


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("--config", type=click.Path(), metavar="FILE", help="Settings file.  [default: coatcheck.toml, if there]")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.  [default: info]")
@click.option("--log-format", metavar="FORMAT", help="auto, text or json.  [default: auto: text on a terminal]")
@click.version_option(__version__, "--version", message="coatcheck %(version)s")
def cli(config: str | None, log_level: str | None, log_format: str | None) -> None:
    """Hand in an AI request, get a ticket, come back for the result.

    Every setting is a flag, a COATCHECK_* variable or a line in coatcheck.toml, in this order of precedence;
    `coatcheck config show` lists them. Results go to stdout, progress to stderr.

    Exit codes: 0 ok, 1 failed, 2 usage or settings, 3 timed out.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Errors become one line on stderr."""
    try:
        code = cli.main(args=arguments, prog_name="coatcheck", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of stdout left, as `head` does; flushing at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except Exception as error:
        message, code = _verdict(error)
        _complain(message)
    return code if isinstance(code, int) else OK


def _verdict(error: Exception) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    if isinstance(error, click.ClickException):
        return _one_line(error), error.exit_code
    if isinstance(error, click.Abort):
        return "stopped", INTERRUPTED
    if isinstance(error, CoatcheckError):
        return str(error), USAGE if isinstance(error, SettingsError) else FAILED
    # A defect of ours: whoever reports it needs to know where it was.
    _complain("".join(traceback.format_exception(error)))
    return f"unexpected {type(error).__name__}: {error}", FAILED


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message} (see `{context.command_path} --help`)" if context else message


def _complain(message: str) -> None:
    from shared.redaction import redact  # noqa: PLC0415 - it loads the settings, which `--help` can do without

    print(f"coatcheck: {redact(message)}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
