"""docs/adding-a-receiver.md is followed to the letter, in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from tests.docs.pages import ROOT, blocks
from tests.system import database_url

PAGE = ROOT / "docs" / "adding-a-receiver.md"
COPIED = ["manage.py", "pyproject.toml", "onai_project", "webhooks", "notifications", "traffic", "referrals"]
COPIED_TESTS = ["__init__.py", "conftest.py", "settings.py", "system.py"]
# A source that only the new app knows must not break the pages of the others.
ADMIN_TEST = """\
from __future__ import annotations

import pytest
from django.urls import reverse

from tests.courses.test_receivers import WON, deliver


@pytest.mark.parametrize("model", ["webhookdelivery", "webhooklog"])
def test_the_admin_lists_the_apps_deliveries(admin_client, model):
    deliver(WON)
    answer = admin_client.get(reverse(f"admin:webhooks_{model}_changelist"))
    assert "Courses endpoint" in answer.content.decode()
"""


@pytest.fixture
def scratch_database(db: None) -> Iterator[str]:
    """The URL of an empty database beside the tests' own."""
    ours = str(connection.settings_dict["NAME"])
    name = f"docs_{ours}"[:50]
    config = connection.settings_dict
    server = {"host": config["HOST"], "port": config["PORT"] or None, "user": config["USER"], "dbname": "postgres"}
    with psycopg.connect(**server, password=config["PASSWORD"] or None, autocommit=True) as session:
        drop = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
        session.execute(drop)
        session.execute(f'CREATE DATABASE "{name}"')
        yield database_url().removesuffix(ours) + name
        session.execute(drop)


def copy_project(target: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (target / "tests").mkdir()
    for name in COPIED_TESTS:
        shutil.copy(ROOT / "tests" / name, target / "tests")
    (target / ".venv").symlink_to(sys.prefix)


def write(project: Path, block: str) -> None:
    """Do with a block of Python what its first line says: `# path` a new file, `# path, after: text` an insertion."""
    first, rest = block.split("\n", 1)
    path, _, anchor = first.removeprefix("# ").partition(", after: ")
    file = project / path
    if not anchor:
        file.write_text(rest)
        return
    text = file.read_text()
    assert text.count(anchor) == 1, f"{anchor!r} is not once in {path}"
    file.write_text(re.sub(rf"^.*{re.escape(anchor)}.*\n", rf"\g<0>{rest}", text, flags=re.MULTILINE))


@pytest.mark.processes
def test_it_makes_an_app_whose_receiver_gets_the_won_deal_posted_to_its_endpoint(
    tmp_path: Path, scratch_database: str
) -> None:
    copy_project(tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DJANGO"))}
    environment |= {"DATABASE_URL": scratch_database, "DEBUG": "on", "ENV_FILE": os.devnull}
    said = ""
    for language, text in blocks(PAGE):
        if language == "python":
            write(tmp_path, text)
            continue
        if "pytest" in text:
            (tmp_path / "tests" / "courses" / "test_admin.py").write_text(ADMIN_TEST)
        result = subprocess.run(
            ["bash", "-euc", text],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        said += result.stdout
        assert result.returncode == 0, said
    assert "Applying courses.0001_initial... OK" in said
    assert "4 passed" in said
    assert "told courses of 0 deals" in said

    ruff = [sys.executable, "-m", "ruff", "check", "courses", "tests/courses", "--exclude", "migrations"]
    linted = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert linted.returncode == 0, linted.stdout
