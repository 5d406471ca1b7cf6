"""Advisory locks share one space of numbers: two users of one number would wait for each other for ever."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APPS = ("onai_project", "webhooks", "notifications", "traffic", "referrals")


def test_every_advisory_lock_has_a_number_of_its_own():
    numbers = Counter(
        int(number, 16)
        for app in APPS
        for file in (ROOT / app).rglob("*.py")
        for number in re.findall(r"^\w+ = (0x6F6E6169_\w+)", file.read_text(), re.MULTILINE)
    )
    assert len(numbers) >= 5
    assert [hex(number) for number, count in numbers.items() if count > 1] == []
