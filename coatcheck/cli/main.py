"""The command `coatcheck`: which commands there are, and how errors end it."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import click

from coatcheck import __version__
from coatcheck.cli.filled import filled
from shared.domain.errors import CoatcheckError, SettingsError

OK, FAILED, USAGE, TIMED_OUT = range(4)
"""Exit codes of every command."""
INTERRUPTED = 130


class Entry(NamedTuple):
    """Where a command is, as "module:attribute", and its line in the overview."""

    target: str
    summary: str


SECTIONS = {
    "Start": {
        "dev": Entry("coatcheck.cli.run.dev:dev", "Run everything on this machine, database and broker included"),
        "init": Entry("coatcheck.cli.run.init:init", "Create or check indexes and topics"),
        "edge": Entry("coatcheck.cli.run.components:edge", "Run an edge: the HTTP API"),
        "worker": Entry("coatcheck.cli.run.components:worker", "Run a worker: claims jobs and calls providers"),
        "reaper": Entry("coatcheck.cli.run.components:reaper", "Run a reaper: ends what is overdue, counts what waits"),
    },
    "Use": {
        "submit": Entry("coatcheck.cli.client.jobs:submit", "Submit a job"),
        "get": Entry("coatcheck.cli.client.jobs:get", "Show a job and its result"),
        "batch": Entry("coatcheck.cli.client.batch:batch", "Run a file of requests in OpenAI's Batch format"),
    },
    "Operate": {
        "keys": Entry("coatcheck.cli.operate.keys:keys", "Create, list, revoke and rotate virtual keys"),
        "providers": Entry("coatcheck.cli.operate.providers:providers", "Check the configured providers"),
        "config": Entry("coatcheck.cli.operate.config:config", "Show, check and document the settings"),
        "job": Entry("coatcheck.cli.operate.job:job", "Show what is known of a job, step by step"),
        "dead": Entry("coatcheck.cli.operate.dead:dead", "List failed jobs, or submit them once more"),
        "top": Entry("coatcheck.cli.operate.top:top", "Watch what waits and what runs"),
        "drill": Entry("coatcheck.cli.operate.drill:drill", "Try to lose a job: kill everything and count"),
        "doctor": Entry("coatcheck.cli.operate.doctor:doctor", "Find out what is wrong, and what to do about it"),
        "version": Entry("coatcheck.cli.operate.config:version", "Show the version"),
    },
}
ENTRIES = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class LazyGroup(click.Group):
    """Knows the SECTIONS, and imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = ENTRIES.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=ENTRIES, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in section.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--config",
    callback=filled,
    type=click.Path(),
    metavar="FILE",
    help="Settings file.  [default: coatcheck.toml, if there]",
)
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.  [default: info]")
@click.option("--log-format", metavar="FORMAT", help="auto, text or json.  [default: auto: text on a terminal]")
@click.version_option(__version__, "--version", message="coatcheck %(version)s")
def cli(config: str | None, log_level: str | None, log_format: str | None) -> None:
    """Hand in an AI request, get a ticket, come back for the result.

    Every setting is a flag, a COATCHECK_* variable or a line in coatcheck.toml, in this order of precedence;
    `coatcheck config show` lists them. Results go to stdout, progress to stderr.

    Exit codes: 0 ok, 1 failed, 2 usage or settings, 3 timed out, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Errors become one line on stderr."""
    try:
        code = cli.main(args=arguments, prog_name="coatcheck", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read stdout, such as `head`, has ended. Python flushes at exit, which would fail again.
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
    if isinstance(error, click.ClickException):
        message = " ".join(error.format_message().split())
        context = error.ctx if isinstance(error, click.UsageError) else None
        return message + (f" (see `{context.command_path} --help`)" if context else ""), error.exit_code
    if isinstance(error, click.Abort):
        return "stopped", INTERRUPTED
    if isinstance(error, CoatcheckError):
        return str(error), USAGE if isinstance(error, SettingsError) else FAILED
    # A bug in Coatcheck: the traceback belongs into its report.
    _complain("".join(traceback.format_exception(error)))
    return f"unexpected {type(error).__name__}: {error}", FAILED


def _complain(message: str) -> None:
    from shared.telemetry.redaction import redact  # noqa: PLC0415 - it loads the settings, which `--help` can do without

    print("\n".join(f"coatcheck: {line}" for line in redact(message).splitlines()), file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
