"""The benchmarks work; whether the machine is fast is for a person to read in bench/RESULTS.md."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from onai_project.database import BASE_DIR

# A time that only a hang reaches.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


def test_every_benchmark_runs_and_tells_its_figures():
    run = subprocess.run(
        [sys.executable, "-m", "bench", "--short"],
        cwd=BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "onai_project.settings"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr
    for figure in (
        "sale visible: p50",
        "slowest",
        "left after 2 s",
        "all rows new",
        "after    200: web",
        "claim of 100",
        "undo",
    ):
        assert figure in run.stdout


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    run = subprocess.run(
        [sys.executable, "-m", "bench", "nope"], cwd=BASE_DIR, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert "there is no nope; there are latency, acks" in run.stderr
