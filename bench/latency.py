"""From a POST to the sale that people can see, at a steady rate, and the acknowledgement on the way."""

from __future__ import annotations

import time

import httpx

from bench import harness
from bench.deals import won_deal
from bench.harness import DOOR, quantile

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def latency(short: bool) -> None:
    """Post 20 a second for 30 s, look for each sale every millisecond from outside."""
    count, rate = (20, 20) if short else (600, 20)
    acknowledged, visible = [], []
    with (
        harness.own_system() as system,
        httpx.Client(timeout=10) as client,
        harness.other_connection() as database,
    ):
        web = system.start_web()
        system.start_worker()
        first = 2_000_000_000
        begin = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            started = time.perf_counter()
            client.post(
                web.url + DOOR, content=won_deal(first + number, int(time.time())), headers=FORM
            ).raise_for_status()
            acknowledged.append(time.perf_counter() - started)
            while not database.execute(
                "SELECT 1 FROM all_sales_tracking WHERE lead_id = %s", [first + number]
            ).fetchone():
                if time.perf_counter() - started > 30:
                    raise TimeoutError("no sale 30 s after its delivery")
                time.sleep(0.001)
            visible.append(time.perf_counter() - started)
    for name, values, wanted in (("acknowledged", acknowledged, ""), ("sale visible", visible, " [100, 500]")):
        print(
            f"  {name}: p50 {quantile(values, 0.5) * 1000:.1f} ms, p99 {quantile(values, 0.99) * 1000:.1f} ms{wanted}, "
            f"slowest {max(values) * 1000:.1f} ms"
        )
