"""The locks of the ledger, in the one order of law 5: deals, then customers, then referrers by code.

Every write to a conversion or an entry happens under its referrer's lock, the old one's and the new one's where it
moves, and those of the same customer's other conversions, for which of them came first may matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import connection

from referrals.judgement import Person
from webhooks.contacts import lock_customers
from webhooks.deals import hold_deals

_LOCK_MISSING = """
INSERT INTO referrers (code, name, phone, email, active, claimed)
SELECT code, '', '', '', true, false FROM unnest(%s::text[]) AS code ON CONFLICT (code) DO NOTHING
"""
# NO KEY: a foreign key's own lock on the same row must not wait.
_LOCK = """
SELECT id, code, active, claimed, group_id, phone, email FROM referrers
WHERE code = ANY(%s::text[]) OR id = ANY(%s::bigint[]) ORDER BY code FOR NO KEY UPDATE
"""
_PARTIES = """
SELECT referrer_id, contact_id FROM referral_conversions
WHERE lead_id = ANY(%(deals)s::bigint[]) OR earlier_sale = ANY(%(deals)s::bigint[])
"""
_OF_CUSTOMERS = "SELECT DISTINCT referrer_id FROM referral_conversions WHERE contact_id = ANY(%s::bigint[])"


class LockedReferrer(NamedTuple):
    """A referrer whose row this transaction holds."""

    id: int
    code: str
    active: bool
    claimed: bool
    group: int | None
    phone: str
    email: str

    @property
    def person(self) -> Person:
        """Return how to reach them."""
        return Person(self.phone, self.email)


Referrers = dict[int, LockedReferrer]


def lock_referrers(codes: Iterable[str], ids: Iterable[int] = ()) -> Referrers:
    """Lock these referrers in the order of their codes, inserting unknown codes first; return them by id."""
    known = sorted(set(codes))
    with connection.cursor() as cursor:
        if known:
            cursor.execute(_LOCK_MISSING, [known])
        cursor.execute(_LOCK, [known, sorted(set(ids))])
        return {row[0]: LockedReferrer(*row) for row in cursor.fetchall()}


def lock_parties(lead_ids: Sequence[int], *, contacts: Iterable[int] = (), codes: Iterable[str] = ()) -> Referrers:
    """Lock whom the conversions of these deals, locked already, concern: customers, then referrers. Those, too, whose
    customer's earlier sale one of the deals was when it was last looked at.

    `contacts` and `codes` are those that the deals name now, beside those that the conversions know.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PARTIES, {"deals": list(lead_ids)})
        parties = cursor.fetchall()
        ids = {referrer_id for referrer_id, _ in parties}
        customers = {contact_id for _, contact_id in parties if contact_id is not None} | set(contacts)
        if customers:
            lock_customers(customers)
            cursor.execute(_OF_CUSTOMERS, [sorted(customers)])
            ids |= {referrer_id for (referrer_id,) in cursor.fetchall()}
    return lock_referrers(codes, ids)


def lock_conversions(lead_ids: Sequence[int]) -> Referrers:
    """Lock these conversions for a person's decision: their deals first, then whom they concern."""
    hold_deals(lead_ids)
    return lock_parties(lead_ids)
