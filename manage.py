#!/usr/bin/env python
"""Django's command line. Where DATABASE_URL is unset it brings up the embedded PostgreSQL first."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from pathlib import Path

ENV_FILE = Path(__file__).resolve().parent / ".env"
# What a person types in a fresh clone, before there is any setting. Everything else needs settings: a worker or a
# health check that quietly took an empty database of its own for production's would be worse than none.
WORK_WITHOUT_SETTINGS = {"migrate", "makemigrations", "runserver", "createsuperuser", "shell", "check", "help"}
NEED_NO_DATABASE = {"help", "--help", "version", "--version", "check", "collectstatic"}
NEED_NO_DATABASE |= {"makemessages", "compilemessages"}


def main() -> None:
    """Run one management command with the settings and the database it needs."""
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "onai_project.settings")
    # So that `finally` and `with` do their work: the last one out stops the embedded server.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0 if command == "up" else 128 + number))
    if command == "up":
        signal.signal(signal.SIGINT, lambda number, frame: sys.exit(0))
    if not ENV_FILE.exists():
        if command == "up":
            write_env_file()
        elif command in WORK_WITHOUT_SETTINGS and not {"DEBUG", "SECRET_KEY", "DATABASE_URL"} & os.environ.keys():
            os.environ["DEBUG"] = "on"
    elif not os.access(ENV_FILE, os.R_OK):
        sys.exit(f"{ENV_FILE} belongs to another user: run this as the user who ran it before, or delete that file.")

    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from onai_project import database

    try:
        with database.running(unless=command in NEED_NO_DATABASE):
            execute_from_command_line(sys.argv)
    except (database.EmbeddedDatabaseError, ImproperlyConfigured) as error:
        sys.exit(str(error))


def write_env_file() -> None:
    """Write the settings of a developer's machine; a file that another process wrote meanwhile stays."""
    new = ENV_FILE.with_name(f".env.{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(
        "# Written by `make run` for this machine. .env.example and the README list what else there is.\n"
        f"DEBUG=on\nSECRET_KEY={secrets.token_urlsafe(50)}\n"
    )
    try:
        os.link(new, ENV_FILE)
    except FileExistsError:
        pass
    finally:
        new.unlink()


if __name__ == "__main__":
    main()
