#!/usr/bin/env python
"""Django's command line. Where DATABASE_URL is unset it brings up the embedded PostgreSQL first."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one management command with the database it needs."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "onai_project.settings")
    from django.core.management import execute_from_command_line

    from onai_project import database

    with database.running(unless=sys.argv[1:2] in (["help"], ["--help"], ["makemessages"])):
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
