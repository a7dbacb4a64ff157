"""What the pages state in words and figures is what the code does: bounds and times, stored fields, exit codes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import bson
import msgspec
import pytest
import yaml
from coatcheck_client import operations as client

from coatcheck.cli import main as command_line
from coatcheck.cli.client.batch import batch
from coatcheck.cli.operate.dead import dead
from deploy.values_schema.__main__ import OTHER_VALUES
from edge.api import poll
from edge.http import stream_places
from edge.ingress.rejection import request_id_from
from edge.poll import result_stream
from edge.submit import auth, validation
from shared.domain import store_interface
from shared.domain.catalogue import CATALOGUE
from shared.domain.form import parse_form
from shared.domain.job import AttemptRecord, ExpiryResult, Finish, PayloadRef, Release, Status
from shared.domain.target import Target
from shared.kafka import notification
from shared.mongo.documents import codec, payloads, transitions
from shared.mongo.documents.layout import StoredHistory, StoredJob, StoredLease, StoredView
from shared.providers import model_names
from shared.providers.config import ProviderConfig
from shared.settings import checks
from shared.settings.table import FIELDS, MIB, PREFIX, Settings, is_secret
from shared.telemetry import process_report
from tests.support.jobs import new_job
from workers import error_classification, provider_registry
from workers.execution import intake, leases
from workers.local_models import model_process, provider
from workers.local_models.requests import chat, embeddings, speech, transcription
from workers.providers.batching.embeddings import Limits
from workers.reaper import service as reaper

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
CHART: dict[str, Any] = yaml.safe_load((ROOT / "deploy/k8s/coatcheck/values.yaml").read_text())
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").glob("*.md"), ROOT / "client/README.md"])
S = Settings()
KB = 1024
DAY = 86_400


def text_of(page: str) -> str:
    return " ".join((DOCS / page).read_text().split())


def option(of: Any, name: str) -> Any:
    """The default of a command's option."""
    (found,) = [each.default for each in of.params if each.name == name]
    return found


def shown(value: float) -> str:
    """A figure as pages write it."""
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


IN_MEMORY = (S.max_held_body_bytes, S.unrecorded_bytes, 4 * S.max_result_bytes, S.slots * 256 * KB)
STATEMENTS: list[tuple[str, str, tuple[float, ...]]] = [
    # Sizes and times of what is stored
    ("data.md", "a chunk: up to {} MB of a large request or result", (payloads.CHUNK_BYTES / MIB,)),
    ("data.md", "({} h by default, at most {} days)", (S.result_ttl_seconds / 3600, S.result_ttl_max_seconds / DAY)),
    ("data.md", "records of up to {} job ids", (notification.MAX_IDS,)),
    ("data.md", "never deleted; {} seconds |", (store_interface.FULL_SECONDS,)),
    ("data.md", "opaque bytes inline up to {} KB, else", (store_interface.INLINE_REQUEST_BYTES / KB,)),
    ("data.md", "inline up to {} KB, else chunks", (store_interface.INLINE_RESULT_BYTES / KB,)),
    ("data.md", "the last {} provider calls", (transitions.MAX_NOTES,)),
    ("data.md", "chunks that are {} minutes old", (store_interface.UNOWNED_SECONDS / 60,)),
    ("data.md", "{} a second at most", (reaper._ORPHANS_BATCH / reaper._PAUSE_SECONDS,)),
    ("data.md", "(deadline + result TTL + {} day)", (payloads.REQUEST_MARGIN / timedelta(days=1),)),
    ("capacity.md", "Requests above {} KB and results above {} KB", (
        store_interface.INLINE_REQUEST_BYTES / KB, store_interface.INLINE_RESULT_BYTES / KB)),
    # What is taken in
    ("compatibility.md", "request body {} MB", (S.max_request_bytes / MIB,)),
    ("compatibility.md", "`model` {} printable characters", (validation.MAX_MODEL_CHARACTERS,)),
    ("compatibility.md", "{} fallbacks, {} parts of a form", (
        model_names.MAX_FALLBACKS, inspect.signature(parse_form).parameters["max_parts"].default)),
    ("compatibility.md", "values in a JSON body above {} KB", (validation.LARGE_BODY / KB,)),
    ("compatibility.md", "after at most N and {} seconds", (poll.MAX_WAIT_SECONDS,)),
    ("compatibility.md", "after {} s (`sync_wait_seconds`)", (S.sync_wait_seconds,)),
    ("compatibility.md", "capped, {} days by default", (S.result_ttl_max_seconds / DAY,)),
    ("architecture.md", "a record with up to {} ids", (notification.MAX_IDS,)),
    ("abuse.md", "below {} KB/s too", (stream_places.LEAST_RATE / KB,)),
    ("abuse.md", "{} MB of each in memory, and up to {} MB apart", (
        result_stream.CHUNK_BYTES / MIB, result_stream.SMALL_BYTES / MIB)),
    ("abuse.md", "unusable ones | 202, what cannot be used is dropped, at most {} count", (model_names.MAX_FALLBACKS,)),
    # The life of a job
    ("guarantees.md", "defaults ({} + {} + {}) x (1 + fallbacks)", (S.max_failures, S.max_crashes, S.max_releases)),
    ("job-lifecycle.md", "bounds them all, {} hours unless", (S.job_deadline_seconds / 3600,)),
    ("job-lifecycle.md", "names up to {} jobs", (notification.MAX_IDS,)),
    ("operations.md", "run again after their leases ({} s)", (S.lease_seconds,)),
    # Memory and connections
    ("capacity.md", "| `max_held_body_bytes` | {} MiB |", (S.max_held_body_bytes / MIB,)),
    ("capacity.md", "| `unrecorded_bytes` | {} MiB |", (S.unrecorded_bytes / MIB,)),
    ("capacity.md", "| 4 times `max_result_bytes` | {} MiB |", (4 * S.max_result_bytes / MIB,)),
    ("capacity.md", "| `slots` times 256 KB | {} MiB |", (S.slots * 256 * KB / MIB,)),
    ("capacity.md", "In all {} MiB", (100 + sum(IN_MEMORY) / MIB,)),
    ("kubernetes.md", "(edge: {} MiB at most, `max_inflight_bytes`)", (S.max_inflight_bytes / MIB,)),
    ("kubernetes.md", "an answer of {} MiB beside it", (S.max_result_bytes / MIB,)),
    # Operators
    ("kubernetes.md", "{} s of going on", (CHART["edge"]["preStopSeconds"],)),
    ("kubernetes.md", "requests under way get {} s", (CHART["edge"]["shutdownSeconds"],)),
    ("kubernetes.md", "running jobs get {} s", (CHART["worker"]["drainSeconds"],)),
    ("kubernetes.md", "A topic has {} partitions by default", (S.kafka_partitions,)),
    ("kubernetes.md", "takes its counts back after {} seconds", (reaper.STALE_SECONDS,)),
    ("operations.md", "at least {} characters", (checks.MIN_ADMIN_TOKEN,)),
    ("operations.md", "to {} seconds. A name belongs", (auth.KNOWN_SECONDS,)),
    ("operations.md", "the old secret works for up to {} seconds more", (auth.KNOWN_SECONDS,)),
    ("operations.md", "`--limit` ({}) bounds one run", (option(dead.commands["requeue"], "limit"),)),
    # Providers
    ("providers.md", "one worker; default {}", (ProviderConfig(name="x", kind="openai").max_concurrency,)),
    ("providers.md", "one call in all; default {}", (ProviderConfig(name="x", kind="openai").timeout_seconds,)),
    ("providers.md", "texts and {} KB of them", (Limits(1).text_bytes / KB,)),
    ("providers.md", "faster than every {0} ms, the first of a call waits {0} ms", (Limits(1).wait * 1000,)),
    ("providers.md", "Local models do so by default ({} texts)", (provider_registry._LOCAL_BATCH_TEXTS,)),
    ("providers.md", "shortened to {} characters", (error_classification.MAX_MESSAGE_CHARACTERS,)),
    ("local-models.md", "a text or up to {} texts", (embeddings.MAX_TEXTS,)),
    ("local-models.md", "The first {} tokens of a text are read", (embeddings.MAX_TOKENS,)),
    ("local-models.md", "`dimensions`: {} or nothing", (embeddings.DIMENSIONS,)),
    ("local-models.md", "`documents`: up to {}, of each", (embeddings.MAX_TEXTS,)),
    ("local-models.md", "up to {} characters of English", (speech.MAX_CHARACTERS,)),
    ("local-models.md", "AIFF), up to {} minutes", (transcription.MAX_SECONDS / 60,)),
    ("local-models.md", "{} tokens for prompt and answer together", (chat.CONTEXT_TOKENS,)),
    ("local-models.md", "an answer ends after {}.", (chat.DEFAULT_MAX_TOKENS,)),
    ("local-models.md", "of all workers for up to {} seconds", (provider._LONGEST_RETRY_AFTER,)),
    ("local-models.md", "does not stop within {} seconds", (model_process.STOP_SECONDS,)),
    # The client
    ("client.md", "exponential waits below {} s", (client.LONGEST_RETRY,)),
    ("client.md", "they begin after {} ms", (client.FIRST_POLL * 1000,)),
    ("client.md", "wait {} times longer each time, up to {} s", (client.POLL_GROWTH, client.LONGEST_POLL)),
    ("client.md", "`--in-flight` jobs ({})", (option(batch, "in_flight"),)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("page", "statement", "figures"), STATEMENTS, ids=[f"{page}: {said}" for page, said, _ in STATEMENTS]
)
def test_a_figure_on_a_page_is_the_codes(page: str, statement: str, figures: tuple[float, ...]) -> None:
    said = [statement.format(*map(write, figures)) for write in (shown, lambda figure: shown(figure).replace(",", ""))]
    assert any(each in text_of(page) for each in said), f"{page} does not say: {said[0]}"


IN_WORDS = [
    (
        "data.md",
        "topics `<prefix>.<modality>`, records of up to 64 job ids, kept for an hour",
        S.kafka_retention_seconds,
        3600,
    ),
    (
        "data.md",
        "what it did in the last ten minutes",
        process_report.BUCKET_SECONDS * process_report.BUCKETS_KEPT,
        600,
    ),
    ("data.md", "and then pauses for five minutes", reaper._REST_SECONDS, 300),
    ("data.md", "it failed with 500 and is kept for a day", transitions.SET_ASIDE_SECONDS, DAY),
    ("data.md", "a result's an hour after its job", payloads.RESULT_MARGIN.total_seconds(), 3600),
    ("data.md", "which of the eleven request types", len(CATALOGUE), 11),
    ("compatibility.md", "one million values in a JSON body", validation.MAX_VALUES, 1_000_000),
    ("compatibility.md", "All eleven endpoints under", len(CATALOGUE), 11),
    ("job-lifecycle.md", "It has four states", len(Status), 4),
    ("job-lifecycle.md", "three times per lease", leases._RENEWALS_PER_LEASE, 3),
    ("job-lifecycle.md", "up to a tenth of the jobs a worker takes come from the sweep", intake._SHARE, 10),
    ("job-lifecycle.md", "what has been due for more than a second", S.sweep_grace_seconds, 1),
    ("kubernetes.md", "look for jobs once a second instead", S.sweep_interval_seconds, 1),
    ("operations.md", "writes one small report every five seconds", process_report.REPORT_SECONDS, 5),
    ("client.md", "A wait of more than a minute is yours to decide", client.LONGEST_RETRY_HINT, 60),
]


@pytest.mark.parametrize(
    ("page", "statement", "real", "figure"), IN_WORDS, ids=[f"{row[0]}: {row[1]}" for row in IN_WORDS]
)
def test_a_figure_in_words_is_the_codes(page: str, statement: str, real: float, figure: float) -> None:
    assert statement in text_of(page), f"{page} does not say: {statement}"
    assert real == figure


def test_as_many_characters_are_taken_for_a_request_id_as_the_page_says() -> None:
    (low, high) = re.findall(r"caller's own if it sent one of (\d+) to (\d+) printable", text_of("compatibility.md"))[0]
    for size in (int(low), int(high)):
        assert request_id_from([b"x" * size]) == "x" * size
    assert request_id_from([b"x" * (int(high) + 1)]) != "x" * (int(high) + 1)
    assert request_id_from([b""]) != ""


# What is stored


def column(page: str, heading: str) -> list[str]:
    """The names in the first column of the table under a heading."""
    table = (DOCS / page).read_text().partition(f"\n{heading}\n")[2].partition("\n\n")[0]
    return [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]


def changes() -> Iterator[transitions.Transition]:
    """One of each transition."""
    job, lease, body, notes = uuid4(), uuid4(), {"data": b"{}"}, (AttemptRecord("w", "openai", "ok", 1),)
    yield transitions.claim([job], lease, "w", 30, 5, suspects=True, source="swept")
    yield transitions.renew([job], [lease], 30)
    for status in (Status.COMPLETED, Status.FAILED):
        yield transitions.finish([Finish(job, lease, status, 200, b"{}", 60, notes)], [body])
    yield transitions.release([Release(job, lease, 1, 0, 0)])
    yield transitions.expire(job, ExpiryResult("deadline", 504, b"{}"), 5, 60, body)
    yield transitions.requeued(job, uuid4())
    yield transitions.set_aside([job], body)


def written() -> set[str]:
    """Every field that the edge writes or that a transition sets."""
    target = Target("openai", "m")
    job = msgspec.structs.replace(new_job(targets=(target, target), key_id="k", fingerprint=b"f"), extra_params=True)
    fields = set(bson.decode(codec.encode_new(job, None)))
    for change in changes():
        for stage in change.update:
            fields |= {name.partition(".")[0] for name in stage.get("$set", {})}
    return fields - {"_record"}


def read() -> set[str]:
    """Every field that is read of a job, but for one that only fallbacks have."""
    structs = (StoredJob, StoredView, StoredHistory)
    return {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)} - {"params"}


def test_the_page_lists_every_field_of_a_stored_job_and_no_other() -> None:
    listed = column("data.md", "## The job document")
    assert len(listed) == len(set(listed))
    assert set(listed) == written()
    assert read() <= set(listed)


def test_the_page_names_what_a_lease_notes_of_the_ones_before() -> None:
    (row,) = [line for line in (DOCS / "data.md").read_text().splitlines() if line.startswith("| `lease` |")]
    named = set(re.findall(r"`(\w+)`", row)) - {"lease"}
    assert named == {field.name for field in msgspec.structs.fields(StoredLease)} - {"at", "due"}


def test_the_page_lists_every_field_of_a_chunk() -> None:
    now = datetime.now(UTC)
    body = payloads.Body(PayloadRef(uuid4(), 1, 1), b"x", payloads.Owner(uuid4(), uuid4()), now)
    (chunk,) = payloads._chunks([body], now)
    (listed,) = re.findall(r"Fields of a chunk: (.*?)\. A chunk", text_of("data.md"))
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(chunk)


# Settings and exit codes


def test_every_variable_on_a_page_is_one_of_ours() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in FIELDS} | {"COATCHECK_URL", "COATCHECK_API_KEY", "COATCHECK_CONFIG"}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in FIELDS if is_secret(name)}
    for page in PAGES:
        if page.name not in ("CHANGELOG.md", "UPGRADING.md"):  # they tell of names that are gone
            assert set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", page.read_text())) <= known, page


def test_the_setting_that_stands_for_those_under_another_value_is_one() -> None:
    (named,) = re.findall(r"`(\w+)` by `([\w.]+)` for example, are refused there", text_of("kubernetes.md"))
    assert OTHER_VALUES[named[0]] == named[1]


def exit_codes(said: str) -> dict[int, str]:
    """Each code with the first word of its meaning."""
    return {int(code): word for code, word in re.findall(r"(\d+) `?-*(\w+)", re.sub(r"\([^)]*\)", "", said))}


def test_the_exit_codes_on_the_page_of_the_commands_are_the_commands() -> None:
    names = {"ok": "OK", "failed": "FAILED", "usage": "USAGE", "timed": "TIMED_OUT", "interrupted": "INTERRUPTED"}
    real = {getattr(command_line, name): word for word, name in names.items()}
    page = text_of("client.md")
    general, of_batch = (exit_codes(said) for said in re.findall(r"Exit codes: ([^.]+)\.", page))
    assert general == real
    assert exit_codes((command_line.cli.help or "").partition("Exit codes: ")[2]) == real
    assert of_batch.keys() == real.keys()


def test_a_setting_that_is_wrong_ends_a_command_with_the_code_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_PORT", "none")
    (code,) = re.findall(r"the exit code is (\d)", text_of("configuration.md"))
    assert command_line.run(["config", "check"]) == int(code)
