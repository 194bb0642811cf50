"""Plays whole outages in virtual time, each drawn from a seed, and says what a user would have lost for no reason."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_sim.outages.checks import violations
from hardware_sim.outages.run import play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hardware_sim.outages.run import Run

_SEEDS = 2**32
_CHUNK = 8
_OBJECTS_BETWEEN_COLLECTIONS = 300_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was wrong in the outage of a seed; nothing if it went well."""

    seed: int
    violations: tuple[str, ...]


def judge(seed: int) -> Verdict:
    """Play the outage of a seed."""
    return Verdict(seed, tuple(violations(play(seed))))


def judge_all(
    seeds: Sequence[int], *, jobs: int = os.cpu_count() or 1, prepare: Callable[[], None] | None = None
) -> Iterator[Verdict]:
    """The verdicts on all seeds, in their order, by so many processes, in each of which `prepare` is called first."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_judge, (prepare,)) as pool:
        yield from pool.map(judge, seeds, chunksize=_CHUNK)


def _start_judge(prepare: Callable[[], None] | None) -> None:
    # An outage leaves little garbage, and looking for it takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if prepare:
        prepare()


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status: 0 without violations, else 1."""
    parser = argparse.ArgumentParser(prog="python -m hardware_sim outages", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many outages; else %(default)s")
    parser.add_argument("--seed", type=int, help="the first one's seed; else a fresh one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; else one for each core")
    parser.add_argument("--story", action="store_true", help="play the outage of this one seed and tell what happened")
    options = parser.parse_args(arguments)
    first = int.from_bytes(os.urandom(4)) if options.seed is None else options.seed
    if options.story:
        return _tell(play(first))
    return _judge(range(first, first + options.runs), options.jobs)


def _judge(seeds: range, jobs: int) -> int:
    print(f"seeds {seeds.start} to {seeds.stop - 1}")
    began, wrong = time.perf_counter(), 0
    for verdict in judge_all(seeds, jobs=jobs):
        wrong += len(verdict.violations)
        for violation in verdict.violations:
            print(f"seed {verdict.seed}: {violation}", flush=True)
    minutes = (time.perf_counter() - began) / 60
    print(f"outages={len(seeds)} violations={wrong} ({len(seeds) / minutes:.0f} a minute)")
    if wrong:
        print("what happened in one of them: python -m hardware_sim outages --story --seed SEED", file=sys.stderr)
    return 1 if wrong else 0


def _tell(run: Run) -> int:
    print(run.scenario)
    for act in run.world.acts:
        print(f"{act.at:9.1f} s  {act.what}")
    found = violations(run)
    print("\n".join(f"violation: {violation}" for violation in found) or "no violation")
    return 1 if found else 0
