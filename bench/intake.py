"""The way in: acknowledgements against the rival, the slowest of many, the whole work sustained, memory."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from bench import harness
from bench.deals import won_deal
from bench.harness import DOOR, load, quantile, rss

RIVAL = os.environ.get("RIVAL_URL", "").rstrip("/")
# Messages are written, and tried at a chat's pace, one a second; nobody listens there. (Without a token each would be
# printed at once, which no production does.)
TELEGRAM = {"TELEGRAM_BOT_TOKEN": "1:bench", "TELEGRAM_CHAT_ID": "-1", "TELEGRAM_API_URL": "http://127.0.0.1:9/bot"}
# What is asked of ours, in times of what the rival did just before: what is asked for and done, no more, is measured.
ASKED = 1.25
# A deal of its own for each request, won now, like the rival's script for the same tool.
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
local body = %r
local number = %d
request = function()
  number = number + 1
  return wrk.format(nil, nil, nil, (body:gsub("1234567890", tostring(number), 1)))
end
"""


def _now(lead_id: int) -> bytes:
    return won_deal(lead_id, int(time.time()))


def _wrk(url: str, seconds: float, first: int) -> tuple[float, str]:
    """Return (answers a second, p99 as wrk writes it) of 8 connections. Raises RuntimeError if any was not a 200."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (_now(1234567890).decode(), first))
        script.flush()
        said = subprocess.run(
            ["wrk", "-t1", "-c8", f"-d{max(1, round(seconds))}", "--latency", "-s", script.name, url],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    if wrong := re.search(r"Non-2xx.*|Socket errors.*", said):
        raise RuntimeError(f"{url}: {wrong[0].strip()}")
    rate, p99 = re.search(r"Requests/sec:\s+(\S+)", said), re.search(r"^\s+99%\s+(\S+)", said, re.MULTILINE)
    assert rate
    assert p99
    return float(rate[1]), p99[1]


def acks(short: bool) -> None:
    """Durable acknowledgements a second at 8 connections, and the rival's /raw in turn."""
    if not shutil.which("wrk"):
        print("  left out: install wrk (apt install wrk)")
        return
    seconds, rounds = (1, 1) if short else (8, 5)
    with harness.own_system() as system:
        web = system.start_web()
        _wrk(web.url + DOOR, 2, 0)
        ratios = []
        for number in range(rounds):
            rate, p99 = _wrk(web.url + DOOR, seconds, (number + 1) * 1_000_000)
            line = f"  ours {rate:6.0f}/s p99 {p99}"
            if RIVAL:
                other, other_p99 = _wrk(f"{RIVAL}/raw", seconds, (number + 1) * 1_000_000)
                ratios.append(rate / other)
                line += f"   rival {other:6.0f}/s p99 {other_p99}   ratio {ratios[-1]:.2f}"
            print(line, flush=True)
        if ratios:
            print(f"  median ratio {statistics.median(ratios):.2f} [0.9]")


def slowest(short: bool) -> None:
    """The slowest of 20 000 acknowledgements at 64 connections."""
    count = 500 if short else 20_000
    with harness.own_system() as system:
        web = system.start_web()
        seen = load(web.url + DOOR, _now, connections=64, count=count)
    _all_stored(seen, count)
    print(
        f"  {count}, the first of each process included: p50 {quantile(seen.latencies, 0.5) * 1e3:.0f} ms, "
        f"p99 {quantile(seen.latencies, 0.99) * 1e3:.0f} ms, slowest {max(seen.latencies) * 1e3:.0f} ms [< 1000]"
    )


def sustained(short: bool) -> None:
    """The whole work at a steady rate, web and one worker, all processed 2 s after its end; the rival in turn."""
    seconds, rounds, alone = (2, 1, 50.0) if short else (60, 5, 1000.0)
    ratios = []
    for number in range(rounds):
        rival = _rival_rate(min(seconds, 20)) if RIVAL else 0.0
        rate = rival * ASKED if rival else alone
        with harness.own_system() as system:
            harness.empty()
            web, worker = system.start_web(), system.start_worker(**TELEGRAM)
            first = number * 1_000_000 + 1
            load(web.url + DOOR, _now, connections=8, count=20, first=first)
            seen = load(web.url + DOOR, _now, connections=8, seconds=seconds, rate=rate, first=first + 20)
            time.sleep(2)
            left = harness.backlog()
            line = (
                f"  ours {rate:5.0f}/s wanted for {seconds} s: {seen.rate:.0f}/s acknowledged, {left} left after 2 s, "
                f"p99 {quantile(seen.latencies, 0.99) * 1e3:.0f} ms, worker {rss(worker.process.pid)} MB"
            )
        if rival:
            ratios.append((seen.statuses[200] - left) / seen.elapsed / rival)
            line += f"   rival {rival:.0f}/s   ratio {ratios[-1]:.2f}"
        print(line, flush=True)
    if ratios:
        print(f"  median ratio {statistics.median(ratios):.2f} [1.2]")


def _rival_rate(seconds: float) -> float:
    return load(f"{RIVAL}/webhook/amocrm/traffic", _now, connections=8, seconds=seconds).rate


def memory(short: bool) -> None:
    """Resident memory of web (three processes) and worker, at rest and while 200 000 deliveries pass."""
    parts, size = (2, 100) if short else (4, 50_000)
    with harness.own_system() as system:
        web, worker = system.start_web(), system.start_worker(**TELEGRAM)
        load(web.url + DOOR, _now, connections=8, count=20)
        first = 21
        for part in range(parts + 1):
            _wait_until_empty()
            print(
                f"  after {part * size:>6}: web {rss(web.process.pid)} MB, worker {rss(worker.process.pid)} MB",
                flush=True,
            )
            if part < parts:
                load(web.url + DOOR, _now, connections=8, count=size, rate=None if short else 900, first=first)
                first += size


def _wait_until_empty() -> None:
    deadline = time.monotonic() + 300
    while harness.backlog():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{harness.backlog()} deliveries are still unprocessed")
        time.sleep(0.5)


def _all_stored(seen: harness.Load, count: int) -> None:
    if seen.statuses != {200: count}:
        raise RuntimeError(f"not all were acknowledged: {dict(seen.statuses)}")
