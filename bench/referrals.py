"""The Referral Dashboard, the pages of payouts and the cabinet beside a hundred thousand conversions."""

from __future__ import annotations

import time
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.test.utils import override_settings

from bench import harness
from bench.log import STORAGES
from onai_project.periods import today

LIMIT_MS = 300
# A year of sales by 500 referrers, a tenth of them by the first; one in twenty taken back, most paid.
_PEOPLE = """
INSERT INTO referrers (code, name, phone, email, active, claimed)
SELECT 'ref_' || n, 'Referrer ' || n, '', '', mod(n, 50) <> 0, mod(n, 20) <> 0 FROM generate_series(1, 500) AS n
"""
_DETAILS = """
INSERT INTO referral_bank_details (referrer_id, recipient, iin, account, updated_at)
SELECT id, name, '', '+77010000001', now() FROM referrers
"""
_CONVERSIONS = """
INSERT INTO referral_conversions (lead_id, lead_name, referrer_id, utm_source, sale_amount, state, moved, sale_date,
                                  available_at, plan_id, hold_reason)
SELECT n, 'A deal of somebody', r.id, r.code, 50000 + mod(n, 100) * 1000,
       CASE WHEN mod(n, 20) = 0 THEN 'reversed' ELSE 'won' END, false, at, at + interval '14 days',
       (SELECT min(id) FROM commission_plans),
       CASE WHEN NOT r.claimed THEN 'unclaimed' WHEN NOT r.active THEN 'inactive'
            WHEN mod(n, 1000) = 0 THEN 'self_referral' ELSE '' END
FROM (SELECT n, now() - (%(rows)s - n) * (interval '365 days' / %(rows)s) AS at,
             1 + mod(n::bigint * 7919, 500) AS person
      FROM generate_series(1, %(rows)s) AS n) AS sales
JOIN referrers AS r ON r.code = 'ref_' || CASE WHEN mod(n, 10) = 0 THEN 1 ELSE person END
"""
_ENTRIES = """
INSERT INTO referral_earnings (conversion_id, referrer_id, seq, kind, amount, reason, available_at)
SELECT id, referrer_id, 1, 'accrual', sale_amount / 10, '10', available_at FROM referral_conversions
"""
_REVERSALS = """
INSERT INTO referral_earnings (conversion_id, referrer_id, seq, kind, amount, reason, available_at)
SELECT id, referrer_id, 2, 'reversal', -sale_amount / 10, 'the sale was taken back', available_at
FROM referral_conversions WHERE state = 'reversed'
"""
# So that the check of the ledger finds nothing, as in life.
_DEALS = """
INSERT INTO deals (lead_id, utm_source, price, wins)
SELECT lead_id, utm_source, sale_amount, CASE WHEN state = 'won' THEN
    jsonb_build_object('1', jsonb_build_array((extract(epoch FROM sale_date) * 1000000)::bigint, 1)) ELSE '{}' END
FROM referral_conversions
"""


@override_settings(STORAGES=STORAGES)
def referrals(short: bool) -> None:
    """Each page's slowest of five requests, through the whole of Django, and the processor time of one."""
    from decimal import Decimal

    from referrals.cabinet import access, tokens
    from referrals.cabinet.models import OneTimeToken
    from referrals.models import CommissionPlan, Referrer
    from referrals.payouts import batches
    from referrals.payouts.checks import ledger_check
    from referrals.payouts.models import Payout
    from referrals.payouts.preview import select_preview
    from referrals.reports import status_titles
    from referrals.status import Status

    rows = 2_000 if short else 100_000
    harness.execute("TRUNCATE referral_payout_batches, referral_bank_details CASCADE")
    CommissionPlan.objects.create(name="Everyone's", kind="percent", value=10, valid_from="2020-01-01")
    harness.execute(_PEOPLE)
    harness.execute(_DETAILS)
    harness.execute(_CONVERSIONS, rows=rows)
    harness.execute(_ENTRIES)
    harness.execute(_REVERSALS)
    harness.execute(_DEALS)
    user = get_user_model().objects.create_superuser("payer", "payer@example.org", "payer")
    # Paid every month until six weeks ago, as in life: a statement has a month's sales.
    for days in range(345, 30, -30):
        started = time.perf_counter()
        batch = batches.batch_create(cutoff=today() - timedelta(days=days), minimum=Decimal(5000), by=user)
        fingerprint = select_preview(cutoff=batch.cutoff, minimum=batch.minimum).fingerprint
        payouts = batches.batch_confirm(batch=batch, fingerprint=fingerprint, by=user)
        seconds = time.perf_counter() - started
        batches.payouts_mark_paid(payouts=[payout.pk for payout in payouts], paid_on=today(), by=user)
    print(f"  {rows} conversions; the last batch, of {len(payouts)}, confirmed in {seconds:.1f} s", flush=True)
    largest = Payout.objects.latest("amount")
    draft = batches.batch_create(cutoff=today(), minimum=Decimal(5000), by=user)
    for table in (
        "referrers",
        "deals",
        "referral_conversions",
        "referral_earnings",
        "referral_payouts",
        "referral_payout_items",
    ):
        harness.execute(f"VACUUM ANALYZE {table}")
    client = harness.web_client()
    client.force_login(user)
    token = tokens.token_issue(referrer=Referrer.objects.get(code="ref_1"), purpose=OneTimeToken.Purpose.SIGN_IN)
    secret = access.session_begin(token=token)
    if secret is None:
        raise RuntimeError("no session")
    client.cookies[access.COOKIE] = secret
    year = f"from={today() - timedelta(days=365)}&to={today()}"
    dashboard = "/admin/referrals/dashboard/"
    pages = {
        "dashboard, 7 days": dashboard,
        "dashboard, month": f"{dashboard}?period=month",
        "dashboard, a year": f"{dashboard}?{year}",
        "dashboard, one referrer's year": f"{dashboard}?{year}&referrer=ref_1",
        "entries, a year": f"{dashboard}entries/?{year}",
        **{f"entries, a year, {status}": f"{dashboard}entries/?{year}&status={status}" for status in status_titles()},
        "entries, the last page": f"{dashboard}entries/?{year}&page={rows // 50}",
        "files: by referrer, by day": f"{dashboard}lines.csv?{year}",
        "file: workbook": f"{dashboard}referrals.xlsx?{year}",
        "API, a year": f"/api/referrals/dashboard/?{year}",
        "API, entries": f"/api/referrals/entries/?{year}",
        "conversions, list": "/admin/referrals/conversion/",
        "conversions, the last page": f"/admin/referrals/conversion/?p={rows // 50 - 1}",
        "conversions, by deal": f"/admin/referrals/conversion/?q={rows // 2}",
        "conversions, by referrer": "/admin/referrals/conversion/?q=ref_1",
        "ledger, list": "/admin/referrals/earning/",
        "referrers, list": "/admin/referrals/referrer/",
        "batch, draft": f"/admin/payouts/payoutbatch/{draft.pk}/change/",
        "batch, paid": f"/admin/payouts/payoutbatch/{batch.pk}/change/",
        "batches, list": "/admin/payouts/payoutbatch/",
        "payouts, list": "/admin/payouts/payout/",
        "payout": f"/admin/payouts/payout/{largest.pk}/change/",
        "statement": f"/admin/payouts/payout/{largest.pk}/statement/",
        "file for the bank": f"/admin/payouts/payoutbatch/{batch.pk}/bank.xlsx",
        "cabinet of a tenth of all": "/r/",
        "cabinet, sales": "/r/sales/",
        "cabinet, the last page": f"/r/sales/?page={rows // 500}",
        **{f"cabinet, {status} sales": f"/r/sales/?status={status}" for status in Status},
        "cabinet, payouts": "/r/payouts/",
        "cabinet, statement": f"/r/payouts/{largest.pk}/",
    }
    for name, url in pages.items():
        client.get(url)
        times = []
        spent = harness.processor_ms()
        for _ in range(5):
            started = time.perf_counter()
            response = client.get(url)
            response.getvalue()  # a file is made while it is read
            times.append((time.perf_counter() - started) * 1000)
            if response.status_code != 200:
                raise RuntimeError(f"{url} answered {response.status_code}")
        spent = (harness.processor_ms() - spent) / len(times)
        slow = "" if max(times) <= LIMIT_MS else "  TOO SLOW"
        print(f"  {name:36} {max(times):6.0f} ms [{LIMIT_MS}], processor {spent:4.0f} ms{slow}", flush=True)
    for name, url in {
        "cabinet, ten thousand sales as CSV": "/r/sales.csv",
        "a month's entries as CSV": f"{dashboard}entries.csv?period=30days",
    }.items():
        started = time.perf_counter()
        client.get(url).getvalue()
        print(f"  {name:36} {time.perf_counter() - started:6.1f} s", flush=True)
    check = ledger_check()
    print(f"  {'check_ledger':36} {check.seconds:6.1f} s, {check.wrong} wrong", flush=True)
