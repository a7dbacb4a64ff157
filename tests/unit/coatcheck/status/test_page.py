"""Who may see the status page, and what it shows to a browser."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any, cast
from uuid import UUID

import pytest

from coatcheck.status.page import StatusPage
from coatcheck.status.reader import StatusReader
from shared.domain.errors import SettingsError, StoreUnavailable
from shared.settings.reading import load_settings
from shared.telemetry.admin_server import Answer

TOKEN = "a-token-of-sixteen-characters"
JOB = "019ac0de-0000-7000-8000-000000000000"
FILES = ["/status", "/status/page.css", "/status/page.js", "/status/icon.svg"]
EVERYTHING = [*FILES, "/status/facts", f"/status/job/{JOB}", "/status/nothing"]
START = datetime(2026, 7, 25, tzinfo=UTC)


class Reader:
    """Stands for the database."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0

    def facts(self) -> dict[str, int]:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("the database did not answer in time")
        return {"fact": 1}

    def history(self, job_id: UUID) -> dict[str, Any] | None:
        self.asked += 1
        if str(job_id) != JOB:
            return None
        return {
            "id": JOB, "type": "embedding", "modality": "embeddings", "status": "failed", "targets": ["openai/m"],
            "claims": 1, "failures": 1, "crashes": 0, "releases": 0, "created_at": START, "attempts": [],
            "completed_at": START + timedelta(seconds=1), "now": START, "key_id": "k1", "request_id": "r",
            "error": "Invalid value: 'the cat sat'",
        }  # fmt: skip


@pytest.fixture
def reader() -> Reader:
    return Reader()


def page(reader: Reader, **flags: Any) -> StatusPage:
    return StatusPage(load_settings(flags, environ={}), cast(StatusReader, reader))


def ask(page: StatusPage, path: str, **headers: str) -> Answer:
    sent = Message()
    for name, value in ({"Host": "127.0.0.1:9090"} | headers).items():
        sent[name] = value
    answer = page.answer(path, sent)
    assert answer is not None
    return answer


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize("path", EVERYTHING)
def test_without_a_token_on_an_address_of_the_network_there_is_no_page(reader: Reader, path: str) -> None:
    answer = ask(page(reader, admin_host="0.0.0.0"), path)
    assert (answer.status, reader.asked) == (403, 0)
    assert b"COATCHECK_ADMIN_TOKEN" in answer.body


@pytest.mark.parametrize("host", ["localhost", "localhost:9090", "127.0.0.1:1", "[::1]:9090", "127.9.9.9"])
def test_on_loopback_this_machine_sees_it_without_a_token(reader: Reader, host: str) -> None:
    assert ask(page(reader), "/status/facts", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090", "10.0.0.1", "", "localhost.evil.example"])
def test_another_sites_page_that_got_its_name_pointed_here_sees_nothing(reader: Reader, host: str) -> None:
    assert (ask(page(reader), "/status/facts", Host=host).status, reader.asked) == (403, 0)


@pytest.mark.parametrize("path", EVERYTHING)
@pytest.mark.parametrize(
    "sent",
    [
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        basic("wrong"),
        "Basic %%%",
        "Basic é",
        f"Digest {TOKEN}",
    ],
)
def test_with_a_token_nothing_is_shown_without_it_on_loopback_neither(reader: Reader, path: str, sent: str) -> None:
    answer = ask(page(reader, admin_token=TOKEN), path, Authorization=sent)
    assert (answer.status, reader.asked) == (401, 0)
    assert dict(answer.headers)["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic(TOKEN)])
def test_the_token_opens_it_from_anywhere(reader: Reader, sent: str) -> None:
    closed = page(reader, admin_token=TOKEN, admin_host="0.0.0.0")
    assert ask(closed, "/status/facts", Authorization=sent, Host="pod").status == 200


def test_a_short_token_is_refused_at_the_start(reader: Reader) -> None:
    with pytest.raises(SettingsError, match="16 characters"):
        page(reader, admin_token="guessed")


@pytest.mark.parametrize("path", EVERYTHING)
def test_every_answer_carries_a_policy_without_inline_code(reader: Reader, path: str) -> None:
    headers = dict(ask(page(reader), path).headers)
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_the_files_name_nothing_outside_and_hold_no_inline_code(reader: Reader) -> None:
    for path in FILES:
        text = ask(page(reader), path).body.decode()
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, "it has to work offline"
        assert "innerHTML" not in text
    html = ask(page(reader), "/status").body.decode()
    assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", html) == []


def test_a_job_is_told_without_its_bodies_and_what_was_quoted_from_them(reader: Reader) -> None:
    answer = ask(page(reader), f"/status/job/{JOB}")
    assert answer.status == 200
    assert b'"kind":"ended"' in answer.body
    assert b"cat" not in answer.body


def test_an_unknown_job_and_what_is_no_id_are_told_apart(reader: Reader) -> None:
    assert ask(page(reader), "/status/job/019ac0de-0000-7000-8000-000000000001").status == 404
    asked = reader.asked
    assert ask(page(reader), "/status/job/../../etc").status == 400
    assert reader.asked == asked, "what is no id does not reach the database"


def test_a_database_that_is_away_is_said(reader: Reader) -> None:
    reader.away = True
    answer = ask(page(reader), "/status/facts")
    assert (answer.status, answer.body) == (503, b"the database did not answer in time\n")


def test_a_browser_at_the_root_is_led_to_the_page_and_others_are_not(reader: Reader) -> None:
    answer = ask(page(reader), "/", Accept="text/html,*/*")
    assert (answer.status, dict(answer.headers)["Location"]) == (302, "status")
    assert page(reader).answer("/", Message()) is None
    assert page(reader).answer("/metrics", Message()) is None
    assert page(reader).answer("/statuses", Message()) is None
