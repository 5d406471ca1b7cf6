from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.onai_project.checkouts import SITE_PACKAGES, Checkout


@pytest.fixture
def make_checkout() -> Iterator[Callable[..., Checkout]]:
    """Make checkouts in a directory that everybody can enter (pytest's tmp_path is closed)."""
    made: list[Checkout] = []
    with tempfile.TemporaryDirectory(prefix="onai-test-") as directory:
        Path(directory).chmod(0o755)

        def make(name: str = "checkout", **options) -> Checkout:
            made.append(Checkout(Path(directory) / name, **options))
            return made[-1]

        yield make
        for checkout in made:
            checkout.remove()


@pytest.fixture
def checkout(make_checkout: Callable[..., Checkout]) -> Checkout:
    return make_checkout()


@pytest.fixture
def ordinary_user() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    return pwd.getpwnam("nobody")


@pytest.fixture
def their_python(ordinary_user: pwd.struct_passwd) -> str:
    """A Python that the ordinary user may run: root's own may lie in root's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                [python, "-c", "import django, psycopg"],
                user=ordinary_user.pw_uid,
                group=ordinary_user.pw_gid,
                extra_groups=[],
                env={"PYTHONPATH": SITE_PACKAGES},
                cwd="/",
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip("no Python here that an ordinary user may run with the installed packages")
