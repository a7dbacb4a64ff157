"""`coatcheck batch`: run a file of requests in OpenAI's Batch format."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from pathlib import Path

import click
from coatcheck_client import ApiError, AsyncCoatcheck, Coatcheck

from coatcheck.batch.journal import Journal, Paths, default_errors
from coatcheck.batch.lines import BadInput, Options, Stopped
from coatcheck.batch.progress import ProgressLine, progress_line
from coatcheck.batch.runner import CONNECTIONS, RETRIES, Runner
from coatcheck.batch.source import Source, check_source
from coatcheck.cli.client.connection import AskedWrong, TimedOut, client_errors, server_options
from coatcheck.cli.filled import filled
from coatcheck.cli.main import FAILED, INTERRUPTED, OK, TIMED_OUT
from coatcheck.cli.options import as_json
from coatcheck.cli.output import progress, result

READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
WRITABLE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
GOES_ON = "The same command goes on from here"


@click.command()
@click.argument("source", metavar="INPUT", type=READABLE)
@click.option(
    "-o", "--output", required=True, callback=filled, type=WRITABLE, help="Results, one line each, as they come."
)
@click.option(
    "--errors",
    callback=filled,
    type=WRITABLE,
    help="Failures, one line each.  [default: OUT.errors.jsonl for OUT.jsonl]",
)
@click.option("--in-flight", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Jobs at a time.")
@click.option("--provider", callback=filled, metavar="NAME", help="Provider of models that do not start with NAME/.")
@click.option("--files", type=FOLDER, help="Folder that @NAME in a form's file fields is read from.")
@click.option("--ttl", type=click.IntRange(min=1), metavar="SECONDS", help="Keep results on the server this long.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop after this; exit code 3.")
@click.option("--retry-failed", is_flag=True, help="Submit again what is in the errors file.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@server_options
@as_json
def batch(
    *, source: Path, output: Path, errors: Path | None, in_flight: int, provider: str | None, files: Path | None,
    ttl: int | None, timeout: float | None, retry_failed: bool, quiet: bool,
    url: str | None, key: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Run every request of INPUT, a file in OpenAI's Batch format, and write the results in that format.

    The whole INPUT is checked before anything is submitted. Ctrl-C lets what is in flight end, a second Ctrl-C leaves
    at once; the same command goes on where it was, and nothing is submitted twice. Exit codes: 0 all completed, 1 some
    failed, 2 usage or input, 3 timed out, 130 interrupted.
    """
    try:
        paths = Paths(output, errors or default_errors(output))
        _refuse_same_file(source, paths)
        checked = check_source(source, Options(provider=(provider or "").rstrip("/"), files_root=files, ttl=ttl))
        with client_errors(), Journal(paths, checked.fingerprint, retry_failed=retry_failed) as journal:
            if journal.done:
                progress(f"{journal.done:,} of {checked.total:,} lines were done before")
            if journal.done < checked.total:
                _find_server(url, key)
            client = AsyncCoatcheck(url, key, retries=RETRIES, connections=CONNECTIONS)
            line = ProgressLine(
                lambda seconds: progress_line(journal.done, checked.total, journal.failed, paths.errors, seconds),
                quiet=quiet,
            )
            code = asyncio.run(_run(client, Runner(client, checked, journal, in_flight), line, timeout))
            if as_json:
                result(json.dumps(_summary(paths, checked, journal, line.seconds)))
            return _verdict(code, checked, journal)
    except BadInput as error:
        raise AskedWrong(str(error)) from None
    except Stopped as error:
        raise click.ClickException(f"{error}. {GOES_ON}") from None


async def _run(client: AsyncCoatcheck, runner: Runner, line: ProgressLine, seconds: float | None) -> int:
    work = asyncio.ensure_future(runner.run())
    interrupts = _on_interrupts(runner, work, line)
    shown = asyncio.create_task(line.keep_up())
    try:
        async with client, asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return TIMED_OUT
    except asyncio.CancelledError:
        return INTERRUPTED
    finally:
        shown.cancel()
        line.finish()
    return INTERRUPTED if interrupts else OK


def _on_interrupts(runner: Runner, work: asyncio.Future[None], line: ProgressLine) -> list[signal.Signals]:
    """Ctrl-C once: submit no more and let what is in flight end. Twice, or SIGTERM: leave at once."""
    seen: list[signal.Signals] = []

    def interrupt() -> None:
        seen.append(signal.SIGINT)
        if len(seen) > 1:
            work.cancel()
            return
        runner.stop()
        line.note(f"waiting for {runner.in_flight:,} jobs in flight; Ctrl-C again leaves them for later")

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, work.cancel)
    return seen


def _find_server(url: str | None, key: str | None) -> None:
    """Fail at once when nobody answers or the key is wrong: a batch under way waits minutes for its server."""
    try:
        with Coatcheck(url, key, retries=1) as client:
            client.get(f"embeddings/{uuid.uuid4()}")
    except ApiError as error:
        if error.status != 404:
            raise


def _refuse_same_file(source: Path, paths: Paths) -> None:
    names = [source, paths.output, paths.errors, paths.journal, paths.retried]
    if len({name.resolve() for name in names}) < len(names):
        raise BadInput("input, output and errors must be different files")


def _summary(paths: Paths, source: Source, journal: Journal, seconds: float) -> dict[str, object]:
    return {
        "total": source.total,
        "completed": journal.done - journal.failed,
        "failed": journal.failed,
        "output": str(paths.output),
        "errors": str(paths.errors) if journal.failed else None,
        "seconds": round(seconds, 3),
    }


def _verdict(code: int, source: Source, journal: Journal) -> int:
    """The exit code of a run that ended with `code`. An interrupt too late to stop anything does not count."""
    left = source.total - journal.done
    if left and code == TIMED_OUT:
        raise TimedOut(f"the time is over with {left:,} lines left. {GOES_ON}")
    if left and code == OK:
        raise click.ClickException(
            f"{left:,} lines have neither result nor failure, which is a defect: please report it"
        )
    if left:
        progress(f"{left:,} lines are left. {GOES_ON}")
        return code
    return FAILED if journal.failed else OK
