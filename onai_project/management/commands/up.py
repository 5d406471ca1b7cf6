"""manage.py up, the heart of `make run`: database, migrations, static files, an admin user, web and worker."""

from __future__ import annotations

import ctypes
import errno
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from onai_project import database

HOST = "127.0.0.1"
PROBE = "/webhook/amocrm/traffic/test"
# Two processes of eight threads: two cores' worth, and 16 of the embedded server's 100 connections.
WEB_PROCESSES = 2
WEB_THREADS = 8
START_SECONDS = 60
# Web and worker end within this or are killed; with the database after them all is gone within 10 s.
STOP_SECONDS = 7
PR_SET_PDEATHSIG = 1
# "onai" in bytes and a number, like the sender's (notifications/sender.py has 1).
SETUP_LOCK = 0x6F6E6169_00000002


def web_command(port: int) -> list[str]:
    """Return the web server's command line; the Procfile's `web` is the same for production."""
    return [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--host", HOST, "--port", str(port),
        "--workers", str(WEB_PROCESSES), "--runtime-mode", "st", "--http", "1", "--no-ws",
        "--blocking-threads", str(WEB_THREADS),
        # An idle thread that ends takes its database connection with it.
        "--blocking-threads-idle-timeout", "600",
        "--respawn-failed-workers", "--workers-kill-timeout", "3", "--log-level", "error",
        "onai_project.wsgi:application",
    ]  # fmt: skip


def worker_command() -> list[str]:
    """Return the worker's command line."""
    return [sys.executable, "manage.py", "worker"]


class Command(BaseCommand):
    """Set up everything that is missing, start web and worker, keep them up until Ctrl-C or SIGTERM."""

    help = "Starts the whole system on this machine, at the port PORT (8000)."
    # The database may still be empty.
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped. Raises CommandError if the port is taken."""
        try:
            port = int(os.environ.get("PORT") or 8000)
        except ValueError:
            raise CommandError(f"PORT must be a number, it is {os.environ['PORT']!r}.") from None
        url = f"http://{HOST}:{port}"
        os.environ.setdefault("SITE_URL", url)
        with reserved(port), ctrl_c_for_us_alone():
            self.say("Migrating the database and collecting static files …")
            with alone():
                call_command("migrate", verbosity=0, interactive=False)
                call_command("collectstatic", verbosity=0, interactive=False)
                password = create_admin()
            self.supervise(port, lambda: self.say(where_to_look(url, password)))

    def say(self, text: str) -> None:
        """Print at once, also into a pipe."""
        self.stdout.write(text)
        self.stdout.flush()

    def supervise(self, port: int, when_ready: Callable[[], None]) -> None:
        """Keep web and worker up, and the database under them, until a signal raises SystemExit."""
        commands = {"web": web_command(port), "worker": worker_command()}
        children: dict[str, subprocess.Popen[bytes]] = {}
        ready_until = time.monotonic() + START_SECONDS
        ready = False
        try:
            while True:
                for name, command in commands.items():
                    child = children.get(name)
                    if child and child.poll() is None:
                        continue
                    if child:
                        self.say(f"{name} ended with code {child.returncode} and is started again.")
                        kill_group(child)
                        time.sleep(1)
                    if name == "web":
                        refuse_if_taken(port)
                    children[name] = start(command)
                if database.start_again_if_gone():
                    self.say("The database had ended and was started again.")
                if not ready and answers(port):
                    ready = True
                    when_ready()
                elif not ready and time.monotonic() > ready_until:
                    ready_until += START_SECONDS
                    self.say("The web server does not answer yet. What it said is above; Ctrl-C stops everything.")
                time.sleep(0.3)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            self.say("Stopping …")
            stop(children)


def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a child out of reach of the terminal's Ctrl-C, which gets SIGTERM when this process dies in any way.

    `options` are Popen's.
    """
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def die_with_parent() -> None:
        if sys.platform == "linux":
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

    return subprocess.Popen(  # noqa: S603 - our own programs
        command,
        cwd=settings.BASE_DIR,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent,
        **options,
    )


def stop(children: dict[str, subprocess.Popen[bytes]]) -> None:
    """End the children: politely, then not."""
    for child in children.values():
        child.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for child in children.values():
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, deadline - time.monotonic()))
        kill_group(child)
        child.wait()


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a child's session: the web server's processes outlive a kill -9 of their parent."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    """Whether the web server answers, whatever it says."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", PROBE)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time set up the database: two migrations at once break each other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [SETUP_LOCK])
        yield
        cursor.execute("SELECT pg_advisory_unlock(%s)", [SETUP_LOCK])


def create_admin() -> str | None:
    """Create the user `admin` if there is no superuser, and return the password; None if there is one."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(username="admin", password=password)
    return password


def where_to_look(url: str, password: str | None) -> str:
    """Return what `make run` prints once everything is up."""
    python = os.path.relpath(sys.executable)
    python = sys.executable if python.startswith("..") else python
    login = (
        f"admin, password {password} (it is not shown again)"
        if password
        else f"as before ({python} manage.py changepassword admin)"
    )
    at = "" if url == settings.SITE_URL else f" --url {url}"
    return f"""
  Everything is up.

  Admin and dashboards   {url}/admin/
  Login                  {login}
  AmoCRM posts to        {url}/webhook/amocrm/traffic and {url}/webhook/amocrm/referral
  A test deal            {python} manage.py send_test_deal traffic{at}
                         {python} manage.py send_test_deal referral{at}
  Stop                   Ctrl-C
"""


@contextmanager
def reserved(port: int) -> Iterator[None]:
    """Have the port for ourselves from the start: web servers of two that start at once would share it unnoticed."""
    refuse_if_taken(port)
    with socket.socket(socket.AF_UNIX) as mark:
        if sys.platform == "linux":
            try:
                mark.bind(f"\0onai-port-{port}")  # no file, and gone with this process
            except OSError:
                raise taken(port, "another `make run` that is starting") from None
        yield


def refuse_if_taken(port: int) -> None:
    """Raise CommandError, which says who has the port and what to do, unless it is free."""
    with socket.socket() as probe:
        # Else the last minute's own connections would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OverflowError:
            raise CommandError(f"PORT must be between 1 and 65535, it is {port}.") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise taken(port, who_listens(port)) from None
            raise CommandError(f"Port {port} cannot be used ({error.strerror}). Try: PORT=8001 make run") from None


def taken(port: int, who: str) -> CommandError:
    """Return the error that says who has the port and what to do."""
    return CommandError(
        f"Port {port} is taken by {who}. If that is this system, it is up already: http://{HOST}:{port}/admin/. "
        f"Otherwise stop it, or take another port: PORT={port + 1} make run"
    )


def who_listens(port: int) -> str:
    """Return the process that listens at `port`, as far as we may know (Linux's /proc)."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
                sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(descriptor) in sockets for descriptor in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"process {process.name} ({command[:80]})"
        except OSError:
            continue
    return "another program"


@contextmanager
def ctrl_c_for_us_alone() -> Iterator[None]:
    """Under make, take the terminal for ourselves: of a Ctrl-C that it gets as well, make would die with code 130."""
    if "MAKELEVEL" not in os.environ or not sys.stdin.isatty() or os.tcgetpgrp(0) != os.getpgrp():
        yield
        return
    group_of_make = os.getpgrp()
    # Giving the terminal back comes from the background; and Ctrl-Z would stop us but not make, so nobody could go on.
    for number in (signal.SIGTTOU, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(0, group_of_make)
