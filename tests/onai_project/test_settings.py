from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

NEEDED = {
    "SECRET_KEY": "x" * 50,
    "DATABASE_URL": "postgres://onai@127.0.0.1:5432/onai",
    "AMOCRM_WEBHOOK_SECRETS": "s3cret",
}


def load_settings(**environment: str) -> tuple[int, str]:
    """Import the settings as a production process would. Returns exit code and the last line of its output."""
    result = subprocess.run(
        [sys.executable, "-c", "import onai_project.settings"],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, (result.stderr.strip().splitlines() or [""])[-1]


def test_production_starts_with_all_that_it_needs():
    assert load_settings(**NEEDED) == (0, "")


@pytest.mark.parametrize("name", NEEDED)
def test_production_refuses_to_start_and_names_what_is_missing(name):
    status, said = load_settings(**{other: value for other, value in NEEDED.items() if other != name})
    assert status == 1
    assert name in said
    assert not [other for other in NEEDED if other != name and other in said]


def test_production_names_all_that_is_missing_at_once():
    status, said = load_settings()
    assert status == 1
    assert [name for name in NEEDED if name in said] == list(NEEDED)
