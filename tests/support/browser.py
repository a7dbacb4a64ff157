"""A real Chromium for tests of pages, driven by Playwright, which brings none of its own here."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, Page, async_playwright

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Watch:
    """What a page did that it should not have done, such as errors, breaches of its policy, calls to other hosts."""

    allowed: str
    complaints: list[str] = field(default_factory=list)

    def on(self, page: Page) -> None:
        """Watch a page from now on."""
        page.on("console", lambda message: self._note(message.type in ("error", "warning"), f"console: {message.text}"))
        page.on("pageerror", lambda error: self._note(True, f"error: {error}"))
        page.on("request", lambda request: self._note(not request.url.startswith(self.allowed), request.url))

    def _note(self, bad: bool, text: str) -> None:
        if bad:
            self.complaints.append(text)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window. Raises RuntimeError when this machine has none."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise RuntimeError("no Chromium on PATH: install it (Debian's package is chromium)")
    async with async_playwright() as playwright:
        # Its own sandbox needs rights that a container does not give; the page under test is ours.
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=60_000)
        try:
            yield browser
        finally:
            await browser.close()
