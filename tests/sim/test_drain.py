"""What a drain does to the pods of its node, and when it uses force."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.sim.workbench import DELETE_GRACE_S, Workbench, acts_on, add_pod, took_s
from upsd.domain.plan import StepKind, StepState
from upsd.domain.rack import EvictionAnswer

if TYPE_CHECKING:
    from hardware_sim.memory_rack import MemoryRack


async def test_a_drain_ends_the_pods_of_its_node_only(bench: Workbench, rack: MemoryRack) -> None:
    """With each pod's own grace, and as soon as the last has ended."""
    progress = await bench.do(StepKind.DRAIN, "pi4-a")
    assert (progress.state, progress.detail) == (StepState.DONE, "2 pods ended")
    assert sorted(rack.did()) == ["evict web/pi4-a-0 30s", "evict web/pi4-a-1 30s"]
    assert took_s(progress) < 4
    assert len(rack.cluster.on("pi4-b")) == 3


async def test_pods_that_a_drain_leaves_alone(bench: Workbench, rack: MemoryRack) -> None:
    """DaemonSet and mirror pods would come back at once, finished ones are over."""
    add_pod(rack, "agent", daemonset=True)
    add_pod(rack, "kube-vip", mirror=True)
    add_pod(rack, "job", finished=True)
    progress = await bench.do(StepKind.DRAIN, "pi4-a")
    assert progress.state is StepState.DONE
    assert {pod.name for pod in rack.cluster.on("pi4-a")} == {"proxy-pi4-a", "agent", "kube-vip", "job"}


async def test_an_empty_node_is_drained_at_once(bench: Workbench, rack: MemoryRack) -> None:
    """Nothing to do takes no time."""
    rack.cluster.add_node("pi3")
    progress = await bench.do(StepKind.DRAIN, "pi3")
    assert progress.detail == "0 pods ended"
    assert took_s(progress) < 1


async def test_a_budget_is_asked_again_until_it_yields(bench: Workbench, rack: MemoryRack) -> None:
    """As long as another node takes pods, a 429 means later, and the pod ends with its own grace."""
    add_pod(rack, "postgres", grace_s=60)
    rack.cluster.refused["web/postgres"] = asyncio.get_running_loop().time() + 20
    progress = await bench.do(StepKind.DRAIN, "pi4-a", limit_s=120)
    assert progress.state is StepState.DONE
    assert acts_on(rack, "postgres") == ["evict web/postgres 60s"]
    assert 20 <= took_s(progress) <= 26


async def test_a_budget_that_never_yields_is_overruled_in_time_and_named(bench: Workbench, rack: MemoryRack) -> None:
    """Not before the step must use force; then with the short grace; and people read which pod it was."""
    add_pod(rack, "postgres", stop_s=60, grace_s=120)
    rack.cluster.refused["web/postgres"] = float("inf")
    start = asyncio.get_running_loop().time()
    progress = await bench.do(StepKind.DRAIN, "pi4-a", limit_s=60, minimum_s=8)
    assert progress.state is StepState.FORCED
    assert progress.detail == "3 pods ended, deleted by force: web/postgres (a budget)"
    assert acts_on(rack, "postgres") == [f"delete web/postgres {DELETE_GRACE_S}s"]
    deleted_at = rack.first(f"delete web/postgres {DELETE_GRACE_S}s") - start
    assert 60 - 8 <= deleted_at <= 60 - 8 + 1.5
    assert took_s(progress) < 60


async def test_a_pod_that_stops_too_slowly_gets_a_shorter_grace(bench: Workbench, rack: MemoryRack) -> None:
    """Of its five minutes it gets what is left until the step must be over, from the start, and it is named."""
    add_pod(rack, "prometheus", stop_s=300, grace_s=300)
    progress = await bench.do(StepKind.DRAIN, "pi4-a", limit_s=60)
    assert progress.state is StepState.FORCED
    assert acts_on(rack, "prometheus") == ["evict web/prometheus 56s"]
    assert progress.detail == "3 pods ended, deleted by force: web/prometheus (out of time)"


async def test_a_pod_that_cannot_be_evicted_is_deleted_at_once(bench: Workbench, rack: MemoryRack) -> None:
    """Waiting would mend nothing; it keeps its own grace, and is named."""
    add_pod(rack, "stuck", grace_s=30)
    rack.cluster.never["web/stuck"] = EvictionAnswer.TWO_BUDGETS
    progress = await bench.do(StepKind.DRAIN, "pi4-a")
    assert (progress.state, took_s(progress) < 5) == (StepState.FORCED, True)
    assert progress.detail == "3 pods ended, deleted by force: web/stuck (two budgets)"
    assert acts_on(rack, "stuck") == ["delete web/stuck 30s"]


async def test_a_pod_that_was_deleted_at_once_gets_no_longer_than_there_is(bench: Workbench, rack: MemoryRack) -> None:
    """Its own long grace must not outlast the step either."""
    add_pod(rack, "stuck", stop_s=300, grace_s=300)
    rack.cluster.never["web/stuck"] = EvictionAnswer.TWO_BUDGETS
    progress = await bench.do(StepKind.DRAIN, "pi4-a", limit_s=60)
    assert progress.state is StepState.FORCED
    assert acts_on(rack, "stuck") == ["delete web/stuck 56s"]


async def test_a_pod_that_ended_while_it_was_asked_is_no_trouble(bench: Workbench, rack: MemoryRack) -> None:
    """A list is old when it arrives."""
    add_pod(rack, "gone")
    asyncio.get_running_loop().call_later(0.17, rack.cluster.pod_by_uid.pop, "gone")
    progress = await bench.do(StepKind.DRAIN, "pi4-a")
    assert (progress.state, progress.detail) == (StepState.DONE, "3 pods ended")
    assert acts_on(rack, "gone") == []


async def test_pods_that_ended_while_the_api_was_away_are_seen(bench: Workbench, rack: MemoryRack) -> None:
    """The drain goes on from what is there, and asks nobody twice."""
    loop = asyncio.get_running_loop()
    loop.call_later(0.5, rack.cluster.faults.fail, "*")
    loop.call_later(20, rack.cluster.faults.mend)
    progress = await bench.do(StepKind.DRAIN, "pi4-a")
    assert progress.state is StepState.DONE
    assert sorted(rack.did()) == ["evict web/pi4-a-0 30s", "evict web/pi4-a-1 30s"]
    assert "connection refused" in bench.said


async def test_an_api_that_is_down_ends_the_drain_with_the_reason(bench: Workbench, rack: MemoryRack) -> None:
    """No drain waits for its whole limit for an API that does not answer; the power-off ends the pods."""
    rack.cluster.faults.fail("*", "no route to the API")
    progress = await bench.do(StepKind.DRAIN, "pi4-a", limit_s=300)
    assert (progress.state, progress.detail) == (StepState.FAILED, "no route to the API")
    assert 30 <= took_s(progress) < 35


async def test_an_api_that_hangs_ends_with_the_step(bench: Workbench, rack: MemoryRack) -> None:
    """Not even an adapter without a deadline holds the plan up."""
    rack.cluster.faults.hang("pods")
    progress = await bench.do(StepKind.DRAIN, "pi4-a", limit_s=40)
    assert progress.state is StepState.TIMED_OUT
    assert took_s(progress) <= 41


async def test_one_pods_error_does_not_keep_the_others_from_being_asked(bench: Workbench, rack: MemoryRack) -> None:
    """They end; the one is tried again; the step says what is wrong with it."""
    add_pod(rack, "broken")
    rack.cluster.broken.add("web/broken")
    progress = await bench.do(StepKind.DRAIN, "pi4-a", limit_s=30)
    assert {pod.name for pod in rack.cluster.on("pi4-a")} == {"proxy-pi4-a", "broken"}
    assert progress.state is StepState.TIMED_OUT
    assert progress.detail in {"web/broken: internal error", "1 of 3 pods left: web/broken"}


async def test_a_full_node_is_drained_by_many_at_a_time(bench: Workbench, rack: MemoryRack) -> None:
    """A hundred pods behind a slow API take seconds, not minutes."""
    for number in range(100):
        add_pod(rack, f"pod-{number}")
    rack.cluster.faults.slow("evict", 0.5)
    progress = await bench.do(StepKind.DRAIN, "pi4-a")
    assert progress.state is StepState.DONE
    assert took_s(progress) < 10


async def test_a_drain_tells_how_far_it_is(bench: Workbench, rack: MemoryRack) -> None:
    """The one that keeps everybody waiting has a name."""
    add_pod(rack, "slow", stop_s=10)
    await bench.do(StepKind.DRAIN, "pi4-a")
    assert "3 of 3 pods left: web/pi4-a-0 and 2 more" in bench.said
    assert "1 of 3 pods left: web/slow" in bench.said
