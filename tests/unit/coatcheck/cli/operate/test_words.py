"""What commands make of words, and how they put things into words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from coatcheck.cli.operate.doctor import MAX_WAIT_SECONDS, _chunks, _clock, _keys, _workers
from coatcheck.cli.operate.job import _story
from coatcheck.cli.operate.providers import chosen as chosen_providers
from coatcheck.cli.output import table
from coatcheck.cli.run.components import chosen
from shared.domain.catalogue import MODALITIES
from shared.domain.errors import SettingsError
from shared.domain.store_interface import Backlog
from shared.settings.reading import load_settings

START = datetime(2026, 7, 25, 10, 39, 58, 120_000, UTC)


@pytest.mark.parametrize(
    ("text", "modalities"),
    [
        ("all", MODALITIES),
        ("text", ("text",)),
        (" embeddings , text,text", ("text", "embeddings")),
        ("text,all", MODALITIES),
    ],
)
def test_modalities_are_read_from_a_list(text: str, modalities: tuple[str, ...]) -> None:
    assert chosen(text) == modalities


@pytest.mark.parametrize(
    ("text", "hint"),
    [("txt", "did you mean 'text'"), ("zzz", "there are text, embeddings"), ("", "no modality"), (",", "no modality")],
)
def test_a_modality_that_does_not_exist_is_refused(text: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        chosen(text)


def test_providers_to_check_are_all_or_the_named_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "GROQ"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-aaaaaaaaaaaa")
    settings = load_settings(environ={})
    assert [each.name for each in chosen_providers(settings, ["groq"])] == ["groq"]
    assert {each.name for each in chosen_providers(settings)} >= {"groq", "openai"}
    with pytest.raises(SettingsError, match="did you mean 'groq'"):
        chosen_providers(settings, ["grok"])


def test_columns_line_up_and_nothing_stands_for_none() -> None:
    assert table(("A", "LONG"), [("x", 1), ("yyy", None), ("z", START)]) == (
        "A    LONG\nx    1\nyyy\nz    2026-07-25T10:39:58Z"
    )


HISTORY = {
    "id": "019ac0de",
    "type": "embedding",
    "status": "completed",
    "targets": ["openai/m", "groq/n"],
    "request_id": "req-1",
    "request_bytes": 41,
    "created_at": START,
    "deadline_at": START + timedelta(hours=24),
    "claims": 2,
    "failures": 1,
    "crashes": 0,
    "releases": 0,
    "last_claim": {"worker": "w-1", "due": START, "at": START + timedelta(seconds=1.5), "source": "swept"},
    "attempts": [
        {
            "worker": "w-1",
            "provider": "openai",
            "outcome": "200",
            "milliseconds": 400,
            "due": START,
            "claimed": START + timedelta(seconds=1.5),
            "source": "swept",
            "recorded": START + timedelta(seconds=2),
        }
    ],
    "now": START + timedelta(hours=1),
    "completed_at": START + timedelta(seconds=2),
    "expires_at": START + timedelta(hours=1),
    "status_code": 200,
    "result_bytes": 1234,
    "paused": {"openai/m": 12.0},
}


def test_the_story_of_a_job_counts_seconds_from_its_acceptance() -> None:
    assert [f"{label}: {text}" for label, text in _story(HISTORY)] == [
        "job: 019ac0de  completed  embedding  openai/m then groq/n",
        "request: req-1  41 bytes",
        "accepted: 2026-07-25T10:39:58Z  deadline +86400.000 s",
        "waited: +0.000 s  1500 ms  due, waited for a worker",
        "claimed: +1.500 s  claimed by w-1, the sweep found it",
        "call: +1.500 s  400 ms  openai answered 200",
        "recorded: +1.900 s  100 ms  outcome recorded",
        "claims: 2, 1 of them without a call that was noted: the providers were paused or had no free place",
        "went to: waiting for a worker 1.500 s  in the provider 0.400 s  recording 0.100 s",
        "spent: failures 1  crashes 0  releases 0",
        "paused: openai/m for 12 s more",
        "ended: +2.000 s  200  1234 bytes",
        "kept until: 2026-07-25T11:39:58Z",
    ]


def test_the_doctor_names_the_modality_that_has_no_worker() -> None:
    waiting = Backlog("ocr", "pending", 7, False, MAX_WAIT_SECONDS + 1)
    fine = Backlog("text", "pending", 9000, False, MAX_WAIT_SECONDS - 1)
    (finding,) = _workers([fine, waiting])
    assert not finding.ok
    assert "7 jobs of ocr wait" in finding.text
    assert "`coatcheck worker --modality ocr`" in finding.text
    assert [each.ok for each in _workers([fine])] == [True]


@pytest.mark.parametrize(("offset", "ok"), [(0.0, True), (-0.5, True), (0.6, False), (-3600.0, False)])
def test_the_doctor_minds_a_clock_that_is_off(offset: float, ok: bool) -> None:
    assert _clock(offset).ok is ok


def test_the_doctor_minds_old_chunks_without_a_job_and_says_who_deletes_them() -> None:
    assert [each.ok for each in _chunks(0)] == [True]
    (finding,) = _chunks(7)
    assert not finding.ok
    assert "7 of them" in finding.text
    assert "start a reaper" in finding.text


def test_the_doctor_wants_a_key_or_the_decision_to_do_without() -> None:
    closed, open_to_all = load_settings(environ={}), load_settings({"allow_anonymous": True}, environ={})
    assert _keys(closed, True).ok
    assert _keys(open_to_all, False).ok
    assert not _keys(closed, False).ok
