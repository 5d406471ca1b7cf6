"""Copies of this checkout, each with an embedded database of its own, for tests that stop and kill servers."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from onai_project.database import Cluster

PARTS = ["manage.py", "onai_project", "webhooks", "notifications", "traffic", "referrals"]
SITE_PACKAGES = next(path for path in sys.path if path.endswith("site-packages"))


class Checkout:
    """A copy of the code at `path`; `manage` and `start` run its manage.py as `user`, or as ourselves."""

    def __init__(self, path: Path, *, user: pwd.struct_passwd | None = None, python: str = sys.executable) -> None:
        self.path = path
        self.python = python
        self.user = user
        path.mkdir()
        for part in PARTS:
            source = settings.BASE_DIR / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, path / part)
        if user:
            for place in [path, *path.rglob("*")]:
                os.chown(place, user.pw_uid, user.pw_gid)
        kept = {"PATH": os.environ["PATH"], "PYTHONPATH": SITE_PACKAGES, "HOME": str(path)}
        self.environment = {**kept, "DEBUG": "on", "LANGUAGE_CODE": "en"}

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a management command; its output is to be read from `stdout`."""
        return subprocess.Popen(
            [self.python, "manage.py", *arguments],
            cwd=self.path,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=self.user.pw_uid if self.user else None,
            group=self.user.pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
        )

    def manage(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run a management command. Returns its exit code and all that it said."""
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def python_code(self, code: str) -> str:
        """Run `code` in Django's shell, with the database up, and return what it printed."""
        status, output = self.manage("shell", "-v0", "-c", code)
        assert status == 0, output
        return output.strip()

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.path)

    def remove(self) -> None:
        """Stop what still runs and delete it all."""
        cluster = self.cluster
        if pid := cluster.pid():
            os.kill(pid, signal.SIGQUIT)
            wait_for(lambda: cluster.pid() is None)
        for directory in {cluster.home, cluster.socket_dir, self.path}:
            shutil.rmtree(directory, ignore_errors=True)


def say_until(process: subprocess.Popen[str], text: str) -> str:
    """Read the process's output up to a line with `text` and return it."""
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"It ended without {text!r}:\n{said}")


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
