"""Chromium, as Debian packs it."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.parts.processes import find_program


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this process."""
    program = find_program("chromium", "chromium")
    # From now on Playwright's event loop is there, and Django thinks it is called from async code.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        # Its sandbox refuses to be root.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=program, args=options)
        yield opened
        opened.close()


REFUSED = "Content Security Policy"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own for each test, without cookies; it keeps to its own security policy."""
    context = browser.new_context(viewport={"width": 1300, "height": 900}, locale="en-GB")
    refused: list[str] = []
    context.on("console", lambda said: refused.append(said.text) if REFUSED in said.text else None)
    yield context.new_page()
    context.close()
    assert refused == []
