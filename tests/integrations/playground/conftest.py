"""A service, a real browser, and pages of which every complaint fails the test."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field, replace

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from pyjail.serve import Config
from pyjail.serve.config import MAXIMA, Admission
from tests.conftest import SLOW
from tests.jail.serve.served import served

PATIENCE = 30_000 * SLOW  # milliseconds
CONFIG = Config(maxima=replace(MAXIMA, output="128M"), admission=Admission(concurrent=2))
# Complaints of the browser about pages are told here, and those of the policy by the event that is for it.
LISTEN = """addEventListener("securitypolicyviolation", (e) =>
    console.error("policy:", e.effectiveDirective, e.blockedURI, e.sourceFile, e.sample));"""

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def service():
    with served(CONFIG) as one:
        yield one


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.fail("chromium is missing: apt-get install chromium")
    options = ["--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-gpu"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # chromium's own cannot be had as root
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=chromium, args=options, timeout=PATIENCE)
        yield one
        one.close()


@dataclass
class Visit:
    """A page of the playground, with what was wrong with it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)  # patterns of complaints that the test is about

    def watch(self) -> None:
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.wrong.append(f"error: {e}"))
        self.page.on("dialog", lambda d: (self.wrong.append(f"dialog: {d.message}"), d.dismiss()))
        self.page.on("popup", lambda p: self.wrong.append(f"popup: {p.url}"))

    def go(self, fragment: str = "") -> Visit:
        """Opened, and ready: what the service offers is there."""
        self.page.goto(f"{self.url}/{fragment}", timeout=PATIENCE)
        return self.ready()

    def ready(self) -> Visit:
        expect(self.page.locator("#limit-fields input").first).to_be_attached()
        expect(self.page.locator("#files [role=tab]").first).to_be_visible()
        return self

    def write(self, text: str, language: str = "python") -> Visit:
        """The program, as people put it there: by the clipboard of the editor."""
        if self.page.input_value("#language") != language:
            self.page.select_option("#language", language)
        editor = self.page.locator(".cm-content")
        editor.click()
        self.page.keyboard.press("Control+a")
        return self.paste(text)

    def paste(self, text: str) -> Visit:
        """Where the focus is."""
        self.page.evaluate("text => navigator.clipboard.writeText(text)", text)
        self.page.keyboard.press("Control+v")
        return self

    def run(self) -> Visit:
        self.page.click("#run")
        return self.ended()

    def ended(self) -> Visit:
        expect(self.page.locator("#verdict")).to_have_attribute("data-kind", re.compile("^(ok|bad|limit)$"))
        expect(self.page.locator("#run")).to_be_enabled()
        return self

    def tab(self, name: str) -> Visit:
        self.page.click(f"#views [data-tab={name}]")
        return self

    @property
    def verdict(self) -> str:
        return self.page.inner_text("#verdict")

    @property
    def output(self) -> str:
        self.page.wait_for_timeout(150)  # what has come is taken
        expect(self.page.locator("#output")).not_to_have_attribute("aria-busy", "true")  # and drawn
        lines = self.page.locator("#output .block > div").evaluate_all("all => all.map(e => e.textContent)")
        return "\n".join(lines).replace("\u200b", "")

    def complaints(self) -> list[str]:
        return [text for text in self.wrong if not any(re.search(pattern, text) for pattern in self.allowed)]


@pytest.fixture
def visit(browser: Browser, service):
    """Makes visits; at the end none of them may have complained, nor asked any other server."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []
    asked: list[str] = []

    def make(url: str = "", **options) -> Visit:
        url = url or service.url
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(PATIENCE)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.add_init_script(LISTEN)

        def only_ours(route):
            if route.request.url.startswith((f"{url}/", "data:", "blob:")):
                route.continue_()
            else:
                asked.append(route.request.url)
                route.abort()

        context.route("**/*", only_ours)
        contexts.append(context)
        one = Visit(context.new_page(), url)
        one.watch()
        visits.append(one)
        return one

    yield make
    complaints = [text for one in visits for text in one.complaints()]
    for context in contexts:
        context.close()
    assert complaints == []
    assert asked == [], "other servers were asked"
