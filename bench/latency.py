"""From a POST to the sale that people can see, on a running system (web and worker), at a steady rate.

    python bench/latency.py http://127.0.0.1:8000 [seconds] [per second]

Needs DATABASE_URL of the system's database; the deals have ids from 2 000 000 000 on.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import httpx
import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.deals import won_deal

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def main() -> None:
    """Post, look for the sale every millisecond, print the percentiles."""
    url = f"{sys.argv[1].rstrip('/')}/webhook/amocrm/traffic?key={os.environ.get('AMOCRM_WEBHOOK_SECRETS', '')}"
    seconds, rate = (float(value) for value in (*sys.argv[2:], "30", "20")[:2])
    acknowledged, visible = [], []
    with httpx.Client(timeout=10) as client, psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        first = 2_000_000_000 + int(time.time()) % 1_000_000 * 1000
        begin = time.perf_counter()
        for number in range(int(seconds * rate)):
            time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            started = time.perf_counter()
            client.post(url, content=won_deal(first + number, int(time.time())), headers=FORM).raise_for_status()
            acknowledged.append(time.perf_counter() - started)
            while not database.execute(
                "SELECT 1 FROM all_sales_tracking WHERE lead_id = %s", [first + number]
            ).fetchone():
                time.sleep(0.001)
            visible.append(time.perf_counter() - started)
    for name, values in (("acknowledged", acknowledged), ("sale visible", visible)):
        cuts = statistics.quantiles(values, n=100)
        print(
            f"{name}: p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms, slowest {max(values) * 1000:.1f} ms"
        )


if __name__ == "__main__":
    main()
