"""python -m bench [--short] [NAME …]: measure this machine; without a name, everything. Names are below.

The database is one of its own beside that of DATABASE_URL (without it, on the embedded server). RIVAL_URL is where the
rival listens, on the same PostgreSQL, for the ratios; without it only our own figures are shown. --short does each with
a handful of requests: it proves that the benchmarks work, and measures nothing.
"""

from __future__ import annotations

import argparse
import sys
import time

from bench import harness
from bench.dashboard import dashboard
from bench.intake import acks, memory, slowest, sustained
from bench.latency import latency
from bench.log import log
from bench.reattribution import reattribution
from bench.referrals import referrals
from bench.replay import replay

FIGURES = {
    figure.__name__: figure
    for figure in (latency, acks, slowest, sustained, replay, memory, log, reattribution, referrals, dashboard)
}


def main() -> None:
    """Run what was asked for, each under its name; the first error ends it with a traceback."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--short", action="store_true", help="only prove that the benchmarks work")
    options = parser.parse_args()
    if unknown := set(options.names) - FIGURES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    with harness.own_database():
        for name in options.names or FIGURES:
            figure = FIGURES[name]
            print(f"{name}: {(figure.__doc__ or '').splitlines()[0]}", flush=True)
            harness.empty()
            started = time.monotonic()
            figure(options.short)
            print(f"  ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
