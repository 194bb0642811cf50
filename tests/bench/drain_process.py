"""`python -m tests.bench.drain_process KUBECONFIG ORDER NODE...`: cordon and drain these nodes as the daemon does it.

A process of its own, with nothing in it but what the daemon has, so that its memory can be measured. It says in MiB how
much it had at most, and how much before it began.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.drains import drained
from upsd.domain.plan import StepState
from upsd.rack.kubernetes import KubernetesCluster
from upsd.shutdown.steps.node_drain import DrainRules
from upsd.shutdown.tiers import DEFAULT_TIERS, Tier

ORDERS = {"tiers": DEFAULT_TIERS, "unordered": (Tier("all"),)}
_LIMIT_S = 900.0


def _most_mib() -> float:
    # What getrusage says is also of the process that this one was forked from.
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return next(int(words[1]) for words in lines if words[0] == "VmHWM:") / 1024


def main() -> None:
    """Drain, and exit with 1 if a step did not end well."""
    kubeconfig, order, *nodes = sys.argv[1:]
    cluster = KubernetesCluster(Path(kubeconfig), request_timeout_s=5.0)
    before_mib = _most_mib()
    rules = DrainRules(tiers=ORDERS[order], nas="")
    ended = asyncio.run(drained(cluster, rules, nodes, limit_s=_LIMIT_S))
    sys.stdout.write(f"{_most_mib():.1f} {before_mib:.1f}\n")
    sys.exit(any(progress.state is not StepState.DONE for progress in ended.values()))


if __name__ == "__main__":
    main()
