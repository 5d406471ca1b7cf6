from __future__ import annotations

from decimal import Decimal

import pytest

from notifications.format import quoted
from onai_project.money import money


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "—"),
        (Decimal(0), "0\u2009₸"),
        (Decimal(100_000), "100\u2009000\u2009₸"),
        (Decimal("1234567.5"), "1\u2009234\u2009568\u2009₸"),
        (Decimal(-5000), "-5\u2009000\u2009₸"),
    ],
)
def test_money_has_thin_spaces_and_a_sign(amount: Decimal | None, text: str):
    assert money(amount) == text


def test_text_from_outside_is_escaped_and_on_one_line():
    assert quoted("<b>&\"_*'\n x ") == "&lt;b&gt;&amp;&quot;_*&#x27; x"


def test_a_text_that_fits_is_kept_whole():
    assert quoted("x" * 600) == "x" * 600


def test_a_long_text_is_cut_visibly_and_between_entities():
    assert quoted("&" * 10, room=12) == "&amp;&amp;…"


def test_an_emoji_counts_twice_as_telegram_does():
    assert quoted("🦁🦁🦁", room=5) == "🦁🦁…"
