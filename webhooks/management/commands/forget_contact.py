"""Remove a person from everything that is stored."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.forgetting import StillThere, forget_contact
from webhooks.models import Contact


class Command(BaseCommand):
    """Forget, search, say how much was changed; no name is printed."""

    help = (
        "Remove a person (a contact of AmoCRM) from contacts, deals, log, stored bodies and messages, and search "
        "everything afterwards. Delete or rename them in AmoCRM first: its next hook would bring them back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare who."""
        parser.add_argument("contact", type=int, metavar="CONTACT_ID", help="the contact's number in AmoCRM")
        parser.add_argument("--lead", type=int, nargs="+", default=[], metavar="LEAD_ID", help="deals of theirs, too")

    def handle(self, *args: Any, **options: Any) -> None:
        """Forget them. Raises CommandError where nobody knows them, or where a trace was left."""
        contact_id = options["contact"]
        if not options["lead"] and not Contact.objects.filter(pk=contact_id).exists():
            raise CommandError(f"There is no contact {contact_id}. If deals of theirs are known: --lead LEAD_ID")
        try:
            done = forget_contact(contact_id=contact_id, lead_ids=options["lead"])
        except StillThere as error:
            raise CommandError(f"Nothing was changed: the person would still be in {error}") from None
        self.stdout.write(
            f"contact {contact_id}: {len(done.lead_ids)} deals, {done.deliveries} deliveries and {done.other_rows} "
            f"other rows were rewritten"
        )
        self.stdout.write(
            f"searched {done.searched_columns} columns and {done.searched_bodies} bodies: "
            "nothing of this person was found"
        )
