"""Links, masking and drawings: no database."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import date
from decimal import Decimal

import pytest

from referrals.cabinet.charts import BAR_WIDTH, HEIGHT, columns, segments
from referrals.cabinet.links import qr_svg, referral_url
from referrals.cabinet.selectors import Balance, Month, masked
from referrals.plan_text import plain_number


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://example.kz", "https://example.kz?utm_source=ref_dana"),
        ("https://example.kz/c?a=1&b=#top", "https://example.kz/c?a=1&b=&utm_source=ref_dana#top"),
        ("https://example.kz/?utm_source=instagram&x=1", "https://example.kz/?x=1&utm_source=ref_dana"),
    ],
)
def test_a_link_is_the_pages_address_with_the_code(url, link):
    assert referral_url(url, "ref_dana") == link


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Айдар Нурланов", "А••• Н•••"),
        ("мария", "М•••"),
        ("+7 701 123-45-67", ""),
        ("Асель 87011234567 Т.", "А••• Т•••"),
        ("«Курс» Ержан Б. О.", "К••• Е•••"),
        ("asel@example.kz", "A•••"),
        ("", ""),
    ],
)
def test_a_customers_name_is_hidden(name, shown):
    assert masked(name) == shown


def test_a_qr_code_is_an_image_without_script_or_style():
    tree = ET.fromstring(qr_svg("https://example.kz/?a=1&utm_source=ref_dana"))
    tags = {element.tag.split("}")[1] for element in tree.iter()}
    assert tags == {"svg", "g", "path"}
    assert not any("style" in element.attrib for element in tree.iter())


def test_the_tallest_month_fills_the_chart():
    january, february, march = columns(
        [Month(date(2026, 1, 1), Decimal(50)), Month(date(2026, 2, 1), Decimal(100)), Month(date(2026, 3, 1))]
    )
    assert (january.height, january.y) == (HEIGHT // 2, HEIGHT // 2)
    assert (february.height, february.y) == (HEIGHT, 0)
    assert march.height == 0


def test_a_year_of_nothing_and_one_of_losses_are_drawn():
    assert [c.height for c in columns([Month(date(2026, 1, 1)), Month(date(2026, 2, 1), Decimal(-5))])] == [0, 0]


def test_the_parts_of_the_balance_fill_the_bar():
    parts = segments(Balance(hold=Decimal(1), waiting=Decimal(1), available=Decimal(1), paid=Decimal(0)))
    assert [part.name for part in parts] == ["available", "waiting", "hold"]
    assert sum(part.width for part in parts) == BAR_WIDTH
    assert segments(Balance()) == []
    assert [part.name for part in segments(Balance(available=Decimal(-5), paid=Decimal(5)))] == ["paid"]


@pytest.mark.parametrize(("value", "text"), [("10.00", "10"), ("12.50", "12,5"), ("100", "100"), ("0.10", "0,1")])
def test_a_percentage_is_written_as_people_do(value, text):
    assert plain_number(Decimal(value)) == text
