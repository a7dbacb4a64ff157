"""The status page in a real browser, on the real stack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from coatcheck.status.page import StatusPage
from shared.settings.reading import load_settings
from shared.telemetry.admin_server import AdminServer
from tests.support.browser import Watch, chromium
from tests.support.servers.dev_server import DevServer, dev_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 40_000
"""Milliseconds that an expectation may wait on a slow machine."""
TOKEN = "a-token-of-sixteen-characters"
EMBEDDINGS = "/v1/async/embeddings"
expect.set_options(timeout=SECONDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with dev_server(tmp_path_factory.mktemp("status")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def failed_job(server: DevServer) -> str:
    """The id of a job that failed, after a few that did not."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as api:
        for model in ("scripted/ok", "scripted/ok", "scripted/fail=1,status=400"):
            accepted = await api.post(EMBEDDINGS, json={"model": model, "input": "the cat sat"})
            assert accepted.status_code == 202, accepted.text
    return str(accepted.json()["id"])


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, server: DevServer) -> AsyncIterator[Page]:
    """A page that may load nothing from elsewhere and must give no error."""
    watch = Watch(server.admin_url)
    page = await browser.new_page(viewport={"width": 1180, "height": 900})
    page.set_default_timeout(SECONDS)
    watch.on(page)
    yield page
    await page.close()
    assert watch.complaints == []


async def test_the_page_shows_what_happens_now(page: Page, server: DevServer, failed_job: str) -> None:
    await page.goto(server.admin_url)
    assert page.url == f"{server.admin_url}/status", "a browser at the root of the port is led to the page"
    await expect(page.locator("#verdict")).to_have_text("All is well.")
    await expect(page.locator("#modalities .row")).to_have_count(6)
    await expect(page.locator("#processes .row")).to_have_count(3)
    for component in ("edge", "reaper", "worker"):
        await expect(page.locator("#processes")).to_contain_text(component)
    await expect(page.locator("#causes")).to_contain_text("scripted, embeddings")
    await expect(page.locator("#age")).to_have_text("live")


async def test_a_failure_leads_to_the_whole_history_of_its_newest_job(
    page: Page, server: DevServer, failed_job: str
) -> None:
    await page.goto(f"{server.admin_url}/status")
    await page.locator("#causes a").first.click()
    story = page.locator("#job")
    await expect(story.locator("h2")).to_contain_text(failed_job)
    for step in ("accepted as embedding", "claimed by", "scripted answered 400", "outcome recorded", "failed with 400"):
        await expect(story).to_contain_text(step)
    await expect(story).not_to_contain_text("the cat sat")
    await story.get_by_text("close").click()
    await expect(story).to_be_hidden()


async def test_a_job_is_found_by_its_id_and_what_is_none_is_said(
    page: Page, server: DevServer, failed_job: str
) -> None:
    await page.goto(f"{server.admin_url}/status")
    search = page.get_by_label("Job id")
    await search.fill(failed_job)
    await search.press("Enter")
    await expect(page.locator("#job")).to_contain_text("failed with 400")


async def test_a_job_is_followed_to_its_end_whatever_failed_on_the_way(
    page: Page, server: DevServer, failed_job: str
) -> None:
    told = httpx.get(f"{server.admin_url}/status/job/{failed_job}").json()
    status = "processing"

    async def answer(route: Route) -> None:
        await route.fulfill(json=told | {"status": status})

    await page.route("**/status/job/*", answer)
    await page.goto(f"{server.admin_url}/status#job={failed_job}")
    for status in ("processing", "pending", "failed"):
        await expect(page.locator("#job")).to_contain_text(f"{status}, embedding")


async def test_it_can_be_read_on_a_phone_and_at_night(browser: Browser, server: DevServer, failed_job: str) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page = await browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
        await page.goto(f"{server.admin_url}/status#job={failed_job}")
        await expect(page.locator("#job")).to_contain_text("failed with 400")
        await expect(page.locator("#modalities .row")).to_have_count(6)
        assert await page.evaluate("document.documentElement.scrollWidth") == 360, "nothing sticks out"
        grounds.append(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        await page.close()
    assert grounds[0] != grounds[1]


async def test_a_process_that_does_not_answer_any_more_is_said(browser: Browser, server: DevServer) -> None:
    admin = admin_server(server)
    page = await browser.new_page()
    await page.goto(f"http://127.0.0.1:{admin.port}/status")
    await expect(page.locator("#age")).to_have_text("live")
    admin.close()
    await expect(page.locator("#verdict")).to_contain_text("does not answer any more. Runbook: CoatcheckTargetDown")
    assert "does not answer any more" in await page.title(), "a tab in the background tells too"
    await page.close()


async def test_with_a_token_a_browser_has_to_log_in(browser: Browser, server: DevServer) -> None:
    admin = admin_server(server, admin_token=TOKEN)
    try:
        url = f"http://127.0.0.1:{admin.port}/status"
        stranger = await browser.new_context()
        assert (await stranger.request.get(url)).status == 401
        await stranger.close()
        operator = await browser.new_context(http_credentials={"username": "me", "password": TOKEN})
        page = await operator.new_page()
        watch = Watch(url)
        watch.on(page)
        await page.goto(url)
        await expect(page.locator("#modalities .row")).to_have_count(6)
        await operator.close()
        assert watch.complaints == []
    finally:
        admin.close()


async def test_what_was_done_is_drawn_once_its_slot_of_ten_seconds_is_over(
    page: Page, server: DevServer, failed_job: str
) -> None:
    await page.goto(f"{server.admin_url}/status")
    row = page.locator("#modalities .row", has_text="embeddings")
    await expect(row.locator("[data-label=Failed]")).to_have_text("1")
    assert await row.locator("path.out").get_attribute("d")


def admin_server(server: DevServer, **flags: str) -> AdminServer:
    """The operators' port of one more process of the same installation."""
    settings = load_settings({"mongodb_uri": server.mongodb_uri, **flags}, environ={})
    return AdminServer(
        "127.0.0.1", 0, component="edge", metrics=lambda: (b"", "text/plain"), stalled=list, problems=list,
        page=StatusPage(settings),
    )  # fmt: skip
