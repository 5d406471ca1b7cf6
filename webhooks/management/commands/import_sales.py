"""Bring in sales that AmoCRM no longer has, from a CSV file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import get_default_timezone

from webhooks.importing import count_known, store_sales
from webhooks.sales_file import FIELDS, REQUIRED, FileError, Problem, decode_file, read_sales

SHOWN = 50


class Command(BaseCommand):
    """Read, say what is wrong line by line, store all of it or nothing."""

    help = (
        "Import old sales from a CSV file with a head. All or nothing; no messages. They are stored as deliveries, so "
        "replay and resync keep them, and whatever AmoCRM says of the same deals wins. "
        f"Columns: {', '.join(FIELDS)}; {' and '.join(REQUIRED)} are needed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the file and what its columns mean."""
        parser.add_argument("file", type=Path, metavar="FILE.csv")
        parser.add_argument(
            "--column", nargs="+", default=[], metavar="FIELD=NAME", help="what columns are called in the file"
        )
        parser.add_argument("--pipeline", type=int, metavar="ID", help="the pipeline of rows that name none")
        parser.add_argument("--dry-run", action="store_true", help="say what would be imported and what is wrong")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import. Raises CommandError where anything in the file is wrong: then nothing was stored."""
        try:
            sales, problems = read_sales(
                decode_file(options["file"].read_bytes()),
                columns=_columns(options["column"]),
                pipeline_id=options["pipeline"],
                zone=get_default_timezone(),
                now=datetime.now(UTC),
            )
        except (OSError, FileError) as error:
            raise CommandError(f"{options['file']}: {error}") from None
        if problems:
            raise CommandError(f"nothing was imported: {_told(problems)}")
        known = count_known(sales)
        total = sum(sale.price or 0 for sale in sales)
        without = sum(sale.price is None for sale in sales)
        self.stdout.write(
            f"{len(sales)} sales, {total} in all, {without} without a price; {known} of the deals are known already"
        )
        if options["dry_run"] or not sales:
            return
        deliveries = store_sales(sales)
        self.stdout.write(f"stored in {len(deliveries)} deliveries; the worker makes sales of them (process_webhooks)")


def _columns(pairs: list[str]) -> dict[str, str]:
    columns = {}
    for pair in pairs:
        field, equals, name = pair.partition("=")
        if not equals or field not in FIELDS:
            raise CommandError(f"--column {pair}: write FIELD=NAME; the fields are {', '.join(FIELDS)}")
        columns[field] = name.strip()
    return columns


def _told(problems: list[Problem]) -> str:
    lines = [f"line {problem.line}: {problem.text}" for problem in problems[:SHOWN]]
    more = [f"… and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return "\n".join([f"{len(problems)} error{'s' * (len(problems) != 1)}", *lines, *more])
