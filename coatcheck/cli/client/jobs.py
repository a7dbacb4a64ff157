"""`coatcheck submit` and `coatcheck get`: the client from a shell. Results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click
from coatcheck_client import ENDPOINTS, ApiError, Coatcheck, FileSource, Job, JobFailed, endpoint_of
from coatcheck_client.job import follow_up
from coatcheck_client.operations import MAX_FOLLOWED

from coatcheck.cli.client.connection import client_errors, server_options
from coatcheck.cli.filled import filled
from coatcheck.cli.main import FAILED, OK
from coatcheck.cli.options import as_json
from coatcheck.cli.output import progress, result

_NUMBERS = re.compile(r"\[\n[-+\s\d.,eE]+\]")
"""An indented list of numbers: a vector takes one line and not four hundred. No JSON string holds a line break."""

wait_option = click.option("--wait", is_flag=True, help="Wait for the end and write the result.")
timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer; then exit code 3."
)


@click.command()
@click.argument("request_type", metavar="TYPE")
@click.argument("body")
@click.option("--file", "files", multiple=True, metavar="NAME=@PATH", help="A file of the form; may be repeated.")
@wait_option
@timeout_option
@click.option("--ttl", type=click.IntRange(min=1), metavar="SECONDS", help="Keep the result this long after the end.")
@click.option("--deadline", type=click.IntRange(min=1), metavar="SECONDS", help="Let the whole job take no longer.")
@click.option(
    "--idempotency-key",
    callback=filled,
    metavar="KEY",
    help="With the same key and request: the same job.  [default: a new key]",
)
@server_options
@as_json
def submit(
    *, request_type: str, body: str, files: tuple[str, ...], wait: bool, timeout: float | None,
    url: str | None, key: str | None, as_json: bool, **how: Any,
) -> int:  # fmt: skip
    """Submit a job of TYPE with BODY and write its ticket; with --wait, its result.

    TYPE is a path or name, such as embeddings or chat/completions. BODY is JSON, @FILE or - for stdin; for a form
    (audio/transcriptions, images/edits, images/variations) it holds the fields, and --file the files:

    \b
        coatcheck submit embeddings '{"model": "local/minilm", "input": "the cat sat"}' --wait
        coatcheck submit audio/transcriptions '{"model": "openai/whisper-1"}' --file file=@note.mp3 --wait
    """
    _timeout_needs_wait(timeout, wait)
    with client_errors():
        endpoint = endpoint_of(request_type)
        content = read_body(body)
        fields = parse_object(content)
        with Coatcheck(url, key) as client:
            sent = content if endpoint.body == "json" else fields
            job = client.submit(endpoint.name, sent, read_files(files), **how)
            if not wait:
                result(json_text(job.envelope) if as_json else job.ticket)
                return OK
            progress(f"{job.ticket} submitted, waiting")
            return show(client.wait(job, timeout), as_json)


@click.command()
@click.argument("job", metavar="JOB")
@click.option("--type", "request_type", metavar="TYPE", help="Type of a JOB given by its id alone, such as embeddings.")
@wait_option
@timeout_option
@server_options
@as_json
def get(
    *, job: str, request_type: str | None, wait: bool, timeout: float | None,
    url: str | None, key: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Write the result of JOB, or say on stderr how far it is.

    JOB is the ticket that submit wrote, such as embeddings/019ac0de-..., or the job's path or URL. With an id alone and
    no --type, each of the eleven endpoints is asked in turn. Of a job that an operator requeued, the new one is shown.
    """
    _timeout_needs_wait(timeout, wait)
    with client_errors(), Coatcheck(url, key) as client:
        found = find(client, job, request_type)
        shown = client.wait(found, timeout) if wait else followed(client, found)
        if shown.id != found.id:
            progress(f"{found.ticket} failed and was requeued as {shown.ticket}")
        return show(shown, as_json)


def followed(client: Coatcheck, job: Job) -> Job:
    """What an operator made of a failed job, as it is now; the job itself if there is no such thing, or no more."""
    for _ in range(MAX_FOLLOWED):
        follows = follow_up(job)
        new = _found(client, follows) if follows else None
        if new is None:
            break
        job = new
    return job


def find(client: Coatcheck, job: str, request_type: str | None) -> Job:
    """The job behind a ticket or an id. An id does not say which endpoint knows it, and only that one answers."""
    if "/" in job and request_type is not None:
        raise click.UsageError("--type is for an id alone: this JOB names its type")
    if "/" in job:
        return client.get(job)
    if request_type is not None:
        return client.get(f"{endpoint_of(request_type).name}/{job}")
    for endpoint in ENDPOINTS:
        if found := _found(client, f"{endpoint.name}/{job}"):
            return found
    raise ApiError(404, f"no endpoint knows job {job}: unknown, expired, or made with another key")


def _found(client: Coatcheck, job: Job | str) -> Job | None:
    try:
        return client.get(job)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def show(job: Job, as_json: bool) -> int:
    if as_json:
        result(json_text(job.envelope))
    elif job.succeeded:
        result(json_text(job.result, indent=2))
    elif job.ended:
        raise JobFailed(job)
    else:
        progress(f"{job.ticket} is {job.status}")
    return FAILED if job.succeeded is False else OK


def read_body(body: str) -> bytes:
    if body == "-":
        return sys.stdin.buffer.read()
    return _read(body[1:]) if body.startswith("@") else body.encode()


def parse_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise click.UsageError(f"BODY is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"BODY must be a JSON object, not {type(value).__name__}")
    return value


def read_files(options: tuple[str, ...]) -> dict[str, FileSource] | None:
    """`NAME=@PATH` options as files of a form; a name given again repeats its part."""
    files: dict[str, list[FileSource]] = {}
    for option in options:
        name, _, path = option.partition("=@")
        if not name or not path:
            raise click.UsageError(f"--file must be NAME=@PATH, such as file=@note.mp3, not {option!r}")
        files.setdefault(name, []).append((Path(path).name, _read(path)))
    return dict(files) or None


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON for stdout; text that is not Unicode, such as half of a surrogate pair, is escaped instead of refused."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    return _NUMBERS.sub(lambda vector: " ".join(vector[0].split()), text) if indent else text


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None


def _timeout_needs_wait(timeout: float | None, wait: bool) -> None:
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait")
