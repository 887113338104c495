"""`python -m tests.simulation SEED` tells the story of a seed; `--seeds N` runs many; `--broken` breaks the rules."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.simulation import broken
from tests.simulation.world import Result, run

_TELL_EVERY = 500


def main() -> None:
    asked = _arguments()
    with broken.breaking(asked.rule) if asked.rule else contextlib.nullcontext():
        if asked.broken:
            sys.exit(_all_broken(asked.seeds or 1000))
        if asked.seed is not None:
            sys.exit(_tell(run(asked.seed, listens=True)))
        sys.exit(_many(asked.first, asked.seeds or 1000))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="The rules of log, roster, lease and supervisor against a simulated Kafka, PostgreSQL and clock.",
    )
    parser.add_argument("seed", nargs="?", type=int, help="tell the story of this seed, and what it breaks")
    parser.add_argument("--seeds", type=int, metavar="N", help="run so many seeds, and name those that fail")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="SEED", help="begin with this one")
    parser.add_argument("--rule", choices=sorted(broken.RULES), metavar="RULE", help="with this rule broken")
    parser.add_argument("--broken", action="store_true", help="break each rule in turn: the first seed that finds it")
    return parser.parse_args()


def _tell(result: Result) -> int:
    for line in result.story:
        print(line)
    print(f"\nseed {result.seed}: {result.simulated_s:.0f} simulated seconds, {result.steps} steps; {_verdict(result)}")
    return result.broken is not None


def _verdict(result: Result) -> str:
    return f"BROKEN: {result.broken}" if result.broken else f"all promises are kept, sessions {result.statuses}"


def _many(first: int, count: int) -> int:
    began, failed = time.process_time(), 0
    simulated_s, steps, statuses = 0.0, 0, Counter[str]()
    for n, result in enumerate(_results(first, count), 1):
        simulated_s, steps = simulated_s + result.simulated_s, steps + result.steps
        statuses.update(result.statuses)
        if result.broken is not None:
            failed += 1
            print(f"seed {result.seed}: {_verdict(result)}", flush=True)
        if n % _TELL_EVERY == 0 or n == count:
            took = (time.process_time() - began) / n
            print(f"{n} of {count} seeds, {failed} failed, {1000 * took:.0f} ms of a core each", flush=True)
    print(f"{simulated_s / 3600:.1f} simulated hours, {steps} steps, sessions: {dict(statuses.most_common())}")
    return failed > 0


def _results(first: int, count: int) -> Iterator[Result]:
    for seed in range(first, first + count):
        yield run(seed)


def _all_broken(most: int) -> int:
    missed = 0
    for rule, known in broken.RULES.items():
        with broken.breaking(rule):
            found = next((result for result in _results(0, most) if result.broken is not None), None)
        missed += found is None
        tried = f"{found.seed + 1} seeds: {found.broken}" if found else f"not found in {most} seeds"
        print(f"{rule} ({known.promise}): {tried}", flush=True)
    return missed > 0
