"""Whether the books agree with themselves and with the deals: every check counts what is wrong, and finds none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from referrals.payouts.balances import wrong_balances
from referrals.payouts.models import LedgerCheck
from webhooks.utm import referral_code

# So many examples of what is wrong are kept; the count has all.
EXAMPLES = 20

_SUMS = """
SELECT payout.id, payout.amount, coalesce(sum(item.amount), 0)
FROM referral_payouts AS payout LEFT JOIN referral_payout_items AS item ON item.payout_id = payout.id
GROUP BY payout.id HAVING payout.amount <> coalesce(sum(item.amount), 0) ORDER BY payout.id
"""
_ITEMS = """
SELECT payout.id, earning.id
FROM referral_payout_items AS item
JOIN referral_payouts AS payout ON payout.id = item.payout_id
JOIN referral_earnings AS earning ON earning.id = item.earning_id
WHERE item.amount <> earning.amount OR earning.referrer_id <> payout.referrer_id
ORDER BY item.id
"""
_TWICE = """
SELECT item.earning_id, array_agg(payout.id ORDER BY payout.id)
FROM referral_payout_items AS item JOIN referral_payouts AS payout ON payout.id = item.payout_id
WHERE payout.state <> 'void' GROUP BY item.earning_id HAVING count(*) > 1 ORDER BY item.earning_id
"""
_LIVE = """
SELECT payout.id, item.earning_id
FROM referral_payout_items AS item JOIN referral_payouts AS payout ON payout.id = item.payout_id
WHERE item.live <> (payout.state <> 'void') ORDER BY item.id
"""
# Paid, and nobody said so, or by a batch that nobody confirmed.
_PAID = """
SELECT payout.id FROM referral_payouts AS payout JOIN referral_payout_batches AS batch ON batch.id = payout.batch_id
WHERE payout.state = 'paid' AND (
    batch.state <> 'confirmed'
    OR NOT EXISTS (SELECT FROM referral_payout_items AS item WHERE item.payout_id = payout.id)
    OR NOT EXISTS (
        SELECT FROM referral_payout_events AS event WHERE event.payout_id = payout.id AND event.kind = 'paid'
    )
) ORDER BY payout.id
"""
_WITHOUT = """
SELECT deal.lead_id, deal.utm_source
FROM deals AS deal LEFT JOIN referral_conversions AS conversion USING (lead_id)
WHERE NOT deal.is_deleted AND deal.wins <> '{}' AND deal.utm_source <> '' AND conversion.state IS DISTINCT FROM 'won'
ORDER BY deal.lead_id
"""
# A refund, a correction, a rejection are decisions beside the conversion, which has the deal's own amount; a deal that
# moved keeps the win that it was won by.
_BESIDE = """
SELECT conversion.lead_id, deal.utm_source, referrer.code, conversion.sale_amount, deal.price, conversion.sale_date,
       'epoch'::timestamptz + first.win * interval '1 microsecond'
FROM referral_conversions AS conversion
JOIN referrers AS referrer ON referrer.id = conversion.referrer_id
JOIN deals AS deal USING (lead_id)
CROSS JOIN LATERAL (
    SELECT min((win ->> 0)::bigint) AS win FROM jsonb_each(deal.wins) AS stands (pipeline, win)
) AS first
WHERE conversion.state = 'won' AND NOT deal.is_deleted AND deal.wins <> '{}'
ORDER BY conversion.lead_id
"""
_STANDING = """
SELECT conversion.lead_id, deal.utm_source, deal.lead_id IS NOT NULL AND NOT deal.is_deleted AND deal.wins <> '{}'
FROM referral_conversions AS conversion LEFT JOIN deals AS deal USING (lead_id)
WHERE conversion.state = 'won' ORDER BY conversion.lead_id
"""


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its stable name, its title, what yields an example of each wrong thing, and what helps."""

    name: str
    title: Promise
    wrong: Callable[[], Iterable[str]]
    remedy: Promise


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    title: str
    count: int
    examples: list[str]
    remedy: str


def _balances() -> Iterator[str]:
    for lead_id, code, posted, target in wrong_balances():
        yield f"{lead_id} {code}: {posted} ≠ {target}"


def _won_without() -> Iterator[str]:
    for lead_id, utm_source in _rows(_WITHOUT):
        if (code := referral_code(utm_source)) is not None:
            yield f"{lead_id} {code}"


def _won_for_nothing() -> Iterator[str]:
    for lead_id, utm_source, won in _rows(_STANDING):
        if not won or referral_code(utm_source) is None:
            yield str(lead_id)


def _left_behind() -> Iterator[str]:
    for lead_id, utm_source, code, amount, price, sold, won in _rows(_BESIDE):
        wanted = referral_code(utm_source)
        if wanted is None:
            continue  # won_for_nothing has it
        pairs = {"referrer": (code, wanted), "sale_amount": (amount, price), "sale_date": (sold, won)}
        if wrong := [f"{name}: {has} ≠ {should}" for name, (has, should) in pairs.items() if has != should]:
            yield f"{lead_id} {'; '.join(wrong)}"


def _sql(sql: str) -> Callable[[], Iterator[str]]:
    return lambda: (" ".join(str(value) for value in row) for row in _rows(sql))


# The deals are right, and the app was not told of one, or failed on it.
_RESYNC = _(
    "Look whether deliveries of these deals failed, mend the cause, then run: manage.py resync referrals. It posts "
    "what is missing, and nothing twice."
)
# The database lets nobody do that, nor does the program.
_TAMPERED = _(
    "Somebody changed the database past its guards. Pay nobody these sums until an administrator has compared these "
    "rows with a backup."
)
CHECKS = [
    Check("balances", _("The entries of each conversion and referrer add up to what is earned"), _balances, _RESYNC),
    Check("sums", _("A payout is the sum of its entries"), _sql(_SUMS), _TAMPERED),
    Check("items", _("The entries of a payout are its referrer's, unchanged"), _sql(_ITEMS), _TAMPERED),
    Check("twice", _("No entry is in two live payouts"), _sql(_TWICE), _TAMPERED),
    Check("live", _("A void payout has given its entries back, any other has not"), _sql(_LIVE), _TAMPERED),
    Check("paid", _("Nothing is paid but by a confirmed batch, by entries, by somebody"), _sql(_PAID), _TAMPERED),
    Check("won_without", _("Every won deal with a ref_ source has a conversion"), _won_without, _RESYNC),
    Check(
        "won_for_nothing",
        _("Every conversion that counts has a won deal with a ref_ source"),
        _won_for_nothing,
        _RESYNC,
    ),
    Check(
        "left_behind",
        _("Every conversion that counts has its deal's referrer, amount and moment of the win"),
        _left_behind,
        _RESYNC,
    ),
]


def ledger_check() -> LedgerCheck:
    """Run every check, store what was found and return it. Reads every conversion: seconds, not milliseconds."""
    started = time.monotonic()
    findings = {}
    for check in CHECKS:
        count, examples = 0, []
        for example in check.wrong():
            count += 1
            if count <= EXAMPLES:
                examples.append(example)
        findings[check.name] = {"count": count, "examples": examples}
    return LedgerCheck.objects.create(
        seconds=time.monotonic() - started,
        wrong=sum(finding["count"] for finding in findings.values()),
        findings=findings,
    )


def findings_of(check: LedgerCheck) -> list[Finding]:
    """Return what a stored run found, in the order of the checks; checks of another version by their names."""
    known = {check.name: check for check in CHECKS}
    order = list(known)
    names = sorted(check.findings, key=lambda name: order.index(name) if name in known else len(order))
    return [
        Finding(
            name,
            str(known[name].title) if name in known else name,
            check.findings[name]["count"],
            check.findings[name]["examples"],
            str(known[name].remedy) if name in known else "",
        )
        for name in names
    ]


def _rows(sql: str) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        while rows := cursor.fetchmany(5000):
            yield from rows
