"""What tests in a real browser share: its sizes, signing in, what breaks a page's width."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 900}


def sign_in(page: Page, username: str = "boss") -> None:
    page.goto("/admin/login/")
    page.fill("[name=username]", username)
    page.fill("[name=password]", "a-good-password")
    page.click("#login-form button[type=submit]")
    page.wait_for_url(lambda url: "/login/" not in url)


def too_wide(page: Page) -> list[str]:
    """Return the elements that make the whole page scroll sideways."""
    elements: list[str] = page.evaluate(
        "() => document.documentElement.scrollWidth <= innerWidth ? [] :"
        " [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`).slice(-5)"
    )
    return elements
