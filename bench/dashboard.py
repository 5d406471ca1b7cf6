"""The Traffic Dashboard over a million sales."""

from __future__ import annotations

import time
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings

from bench import harness
from bench.log import STORAGES
from onai_project.periods import today
from traffic.day_totals import build_days
from traffic.models import AttributionRule, Targetologist
from traffic.seeds import seed

LIMIT_MS = 300
YEARS = 2
# As in life: a targetologist has five campaigns at a time, each for three weeks, on one source, into one funnel; one
# sale in twenty is nobody's, one in twenty a referrer's, one in fifty has no amount, one in thirty was taken back.
_SALES = """
INSERT INTO all_sales_tracking (lead_id, lead_name, sale_amount, currency, utm_source, utm_medium, utm_campaign,
    utm_content, utm_term, targetologist, sale_date, pipeline_id, channel, matched_field, matched_text, funnel_type,
    state, moved, win_number)
SELECT n, 'Deal ' || n, CASE WHEN n %% 50 = 0 THEN NULL ELSE 10000 + (n * 7919::bigint) %% 490000 END, 'KZT',
       CASE WHEN kind = 1 THEN 'ref_' || chr(97 + (n %% 26)::int) WHEN kind = 2 THEN '' ELSE source END,
       CASE WHEN n %% 7 < 3 THEN 'cpc' ELSE 'stories' END,
       CASE WHEN kind = 2 THEN '' ELSE slug || '_' || week || '_' || n %% 5 END, '', '',
       CASE WHEN kind IN (1, 2) THEN NULL ELSE slug END,
       at, 10418746, CASE kind WHEN 1 THEN 'referral' WHEN 2 THEN 'unknown' ELSE 'targetologist' END, '', '',
       (ARRAY['express', 'challenge3d', 'intensive1d'])[1 + n %% 5 %% 3],
       CASE WHEN n %% 30 = 0 THEN 'reversed' ELSE 'won' END,
       false, 1
FROM (
    SELECT n, (n / 5 * 7) %% 20 AS kind,
           (ARRAY['kenesary', 'arystan', 'muha', 'traf4'])[1 + (n / 5) %% 4] AS slug,
           (ARRAY['instagram', 'facebook', 'tiktok'])[1 + n %% 5 %% 3] AS source,
           now() - (%(rows)s - n) * %(seconds)s * interval '1 second' AS at,
           (n * %(seconds)s / (21 * 86400))::int AS week
    FROM generate_series(1, %(rows)s) AS n
) AS made
"""


@override_settings(STORAGES=STORAGES)
def dashboard(short: bool) -> None:
    """Page, files, list and API over a million sales of two years, each the slowest of five."""
    rows = 2_000 if short else 1_000_000
    started = time.monotonic()
    seed(Targetologist, AttributionRule)
    harness.execute(_SALES, rows=rows, seconds=YEARS * 365 * 86400 / rows)
    harness.execute("VACUUM ANALYZE all_sales_tracking")
    print(f"  {rows} sales made in {time.monotonic() - started:.0f} s", flush=True)
    user = get_user_model().objects.create_superuser("boss", "boss@example.org", "bench")
    own = get_user_model().objects.create_user("muha", is_staff=True)
    own.user_permissions.set(_permissions())
    Targetologist.objects.filter(slug="muha").update(user=own)
    year = f"from={today() - timedelta(days=365)}&to={today()}"
    urls = {
        "7 days": "/admin/traffic/dashboard/",
        "30 days": "/admin/traffic/dashboard/?period=30days",
        "a year": f"/admin/traffic/dashboard/?{year}",
    }
    _measure("not built: ", user, urls)
    started = time.monotonic()
    days = build_days()
    print(f"  {days} days built in {time.monotonic() - started:.1f} s", flush=True)
    for table in ("sale_day_totals", "sale_line_totals", "sale_month_totals"):
        harness.execute(f"VACUUM ANALYZE {table}")
    campaign = harness.value(
        "SELECT utm_campaign FROM all_sales_tracking WHERE targetologist = 'muha' "
        "AND sale_date < now() - interval '200 days' ORDER BY sale_date DESC LIMIT 1"
    )
    urls |= {
        "a year, by source": f"/admin/traffic/dashboard/?{year}&by=source",
        "a year, one targetologist": f"/admin/traffic/dashboard/?{year}&targetologist=muha",
        "a year, one old campaign": f"/admin/traffic/dashboard/?{year}&campaign={campaign}",
        "a year, a word": f"/admin/traffic/dashboard/?{year}&q=muha_3",
        "a year, list, first page": f"/admin/traffic/dashboard/sales/?{year}",
        "a year, list, last page": f"/admin/traffic/dashboard/sales/?{year}&page={rows // YEARS * 29 // 30 // 50}",
        "a year, API": f"/api/traffic/dashboard/?{year}",
        "a year, CSV": f"/admin/traffic/dashboard/parts.csv?{year}",
        "sales, search by deal": f"/admin/traffic/sale/?q={rows // 2}",
        "home": "/admin/",
    }
    _measure("", user, urls)
    _measure("own, ", own, {name: urls[name] for name in ("7 days", "a year")})
    harness.execute("UPDATE all_sales_tracking SET sale_amount = 1 WHERE sale_date > now() - interval '1 day'")
    _measure("today changed: ", user, {"a year": urls["a year"]})


def _permissions() -> list[object]:
    from django.contrib.auth.models import Permission

    return list(Permission.objects.filter(codename__in=["view_sale", "view_adspend"]))


def _measure(prefix: str, user: object, urls: dict[str, str]) -> None:
    client = harness.web_client()
    client.force_login(user)
    for name, url in urls.items():
        client.get(url)
        times = []
        for _ in range(5):
            started = time.perf_counter()
            with CaptureQueriesContext(connection) as queries:
                response = client.get(url)
                if response.streaming:
                    b"".join(response)
            times.append((time.perf_counter() - started) * 1000)
            if response.status_code != 200:
                raise RuntimeError(f"{url} answered {response.status_code}")
        slow = "" if max(times) <= LIMIT_MS else "  TOO SLOW"
        print(f"  {prefix + name:40} {max(times):6.0f} ms [{LIMIT_MS}]{slow}", flush=True)
        if slow:
            for query in sorted(queries.captured_queries, key=lambda query: -float(query["time"]))[:2]:
                print(f"    {query['time']} s: {query['sql'][:300]}")
