"""manage.py import_ad_spend FILE.csv [--dry-run]: enter ad spend from a file, all of it or nothing."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from traffic.spend.entries import compare_spend, store_spend
from traffic.spend.files import read_spend
from traffic.spend.people import slugs_by_name


class Command(BaseCommand):
    """The page's import, for a shell."""

    help = "Enter ad spend from a CSV file (date, targetologist, campaign, amount), all of it or nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file, and whether only to check it."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what is wrong, line by line, or what was done."""
        try:
            content = options["file"].read_bytes()
        except OSError as error:
            raise CommandError(str(error)) from error
        read = read_spend(content, slugs_by_name())
        for wrong in read.errors:
            self.stderr.write(f"line {wrong.line}: {wrong.text}")
        if read.errors:
            raise CommandError("Nothing was imported.")
        if options["dry_run"]:
            outcome, said = compare_spend(read.lines), "would be imported"
        else:
            outcome, said = store_spend(lines=read.lines, author=None), "imported"
        self.stdout.write(
            f"{said}: new {outcome.new}, changed {outcome.changed}, already there {outcome.same}; sum {read.total}"
        )
