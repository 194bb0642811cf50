"""What the drains of all nodes do together: one look at the cluster, an order among workloads, one patience."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_rack import MASTER
from tests.sim.workbench import DELETE_GRACE_S, NAS, acts_on, add_pod, took_s
from upsd.domain.plan import StepKind, StepState
from upsd.domain.rack import EvictionAnswer
from upsd.shutdown.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from hardware_sim.memory_rack import MemoryRack
    from tests.sim.workbench import Workbench

NODES = ("pi4-a", "pi4-b", MASTER)
LIMIT_S = 188.0
FORCED_S = 8.0
PATIENCE_S = 10.0


@pytest.fixture
def cordoned(rack: MemoryRack) -> MemoryRack:
    """A rack as an outage has it: no node takes new pods."""
    for name in NODES:
        rack.cluster.add_node(name, unschedulable=True)
    return rack


def asked_at(rack: MemoryRack, name: str) -> float:
    """When the pod was first asked to go."""
    return min(act.at for act in rack.acts if f"web/{name} " in act.what)


async def test_all_drains_share_one_list_in_each_second(bench: Workbench, rack: MemoryRack) -> None:
    """However many nodes there are; and nothing else is asked but once, and one eviction for each pod."""
    add_pod(rack, "slow", stop_s=20)
    progress = await bench.drain(*NODES)
    assert {step.detail for step in progress.values()} == {"2 pods ended", "3 pods ended"}
    calls = rack.cluster.faults.met
    assert calls["pods"] <= took_s(progress["pi4-a"]) + 2
    assert (calls["evict"], calls["delete"], calls["nodes"], calls["file_servers"]) == (7, 0, 1, 1)


async def test_each_drain_ends_with_its_own_node(bench: Workbench, rack: MemoryRack) -> None:
    """So that a machine can be powered off while others still wait for a pod."""
    add_pod(rack, "slow", stop_s=20)
    progress = await bench.drain(*NODES)
    assert took_s(progress["pi4-b"]) < 3
    assert 20 <= took_s(progress["pi4-a"]) < 23


async def test_databases_end_after_the_apps_of_all_nodes(bench: Workbench, rack: MemoryRack) -> None:
    """And before the system, which ends last."""
    add_pod(rack, "shop", stop_s=10, node="pi4-b")
    add_pod(rack, "postgres", stop_s=5, stateful_set=True)
    add_pod(rack, "traefik", node=MASTER, priority_class="system-cluster-critical")
    progress = await bench.drain(*NODES, limit_s=LIMIT_S)
    assert all(step.state is StepState.DONE for step in progress.values())
    began = [asked_at(rack, name) for name in ("shop", "postgres", "traefik")]
    assert began[0] + 10 <= began[1] <= began[0] + 12
    assert began[1] + 5 <= began[2] <= began[1] + 7
    assert "1 of 3 pods left: web/postgres; 1 of them in a later tier" in bench.said


async def test_an_app_that_hangs_keeps_the_databases_waiting_for_its_share_only(
    bench: Workbench, rack: MemoryRack
) -> None:
    """Of two tiers each has half of the time until force."""
    add_pod(rack, "hung", stop_s=999, grace_s=999)
    add_pod(rack, "postgres", node="pi4-b", stateful_set=True)
    progress = await bench.drain(*NODES, limit_s=LIMIT_S)
    share_s = (LIMIT_S - FORCED_S) / 2
    waited_s = asked_at(rack, "postgres") - asked_at(rack, "hung")
    assert share_s - 1 <= waited_s <= share_s + 1.5
    assert progress["pi4-b"].state is StepState.DONE
    assert progress["pi4-a"].state is StepState.FORCED


async def test_with_little_time_nobody_waits_for_anybody(bench: Workbench, rack: MemoryRack) -> None:
    """A database that is asked late would lose more than one whose clients are still there."""
    add_pod(rack, "hung", stop_s=999, grace_s=999)
    add_pod(rack, "postgres", node="pi4-b", stateful_set=True)
    await bench.drain(*NODES, limit_s=40)
    assert asked_at(rack, "postgres") == asked_at(rack, "hung")


async def test_nobody_waits_for_pods_on_a_node_that_is_dead(bench: Workbench, rack: MemoryRack) -> None:
    """They can't end, and hold up only their own drain; they are asked all the same, for when it is back."""
    add_pod(rack, "postgres", node="pi4-b", stateful_set=True)
    add_pod(rack, "traefik", priority_class="system-node-critical")
    rack.cluster.node_off("pi4-a")
    progress = await bench.drain(*NODES, limit_s=LIMIT_S)
    assert acts_on(rack, "traefik")
    assert took_s(progress["pi4-b"]) < 8
    assert progress["pi4-a"].state is StepState.TIMED_OUT


async def test_a_drain_that_begins_later_keeps_the_order_too(bench: Workbench, rack: MemoryRack) -> None:
    """What the first node had no apps to wait for is asked, and what comes with the second waits for the apps there."""
    rack.cluster.pod_by_uid.clear()
    add_pod(rack, "mysql", stop_s=20, stateful_set=True)
    add_pod(rack, "shop", stop_s=10, node="pi4-b")
    add_pod(rack, "postgres", node="pi4-b", stateful_set=True)
    first = asyncio.create_task(bench.drain("pi4-a", limit_s=LIMIT_S))
    await asyncio.sleep(5)
    await asyncio.gather(first, bench.drain("pi4-b", limit_s=LIMIT_S))
    assert asked_at(rack, "mysql") < 1
    assert asked_at(rack, "postgres") >= asked_at(rack, "shop") + 10
    assert rack.cluster.faults.met["pods"] < 30


async def test_tiers_are_what_the_settings_say(bench: Workbench, rack: MemoryRack) -> None:
    """By a label here, and nothing else has an order then."""
    bench.tiers = (Tier("all"), Tier("last", labels=("upsd/last=yes",)))
    add_pod(rack, "postgres", stateful_set=True)
    add_pod(rack, "proxy", labels={"upsd/last": "yes"})
    await bench.drain(*NODES, limit_s=LIMIT_S)
    assert asked_at(rack, "postgres") == asked_at(rack, "pi4-a-0") < asked_at(rack, "proxy")


async def test_a_budget_is_overruled_when_no_node_takes_new_pods(bench: Workbench, cordoned: MemoryRack) -> None:
    """After a short patience, with the pod's own grace, and named: with every node cordoned it never yields."""
    add_pod(cordoned, "postgres", stop_s=20, grace_s=60)
    cordoned.cluster.refused["web/postgres"] = float("inf")
    progress = (await bench.drain(*NODES, limit_s=LIMIT_S))["pi4-a"]
    assert (progress.state, progress.detail) == (
        StepState.FORCED,
        "3 pods ended, deleted by force: web/postgres (a budget)",
    )
    assert acts_on(cordoned, "postgres") == ["delete web/postgres 60s"]
    assert PATIENCE_S <= asked_at(cordoned, "postgres") - asked_at(cordoned, "pi4-a-0") <= PATIENCE_S + 3


async def test_what_was_forced_is_named_by_its_reason(bench: Workbench, cordoned: MemoryRack) -> None:
    """One reason after another, each with its first pod."""
    add_pod(cordoned, "two")
    add_pod(cordoned, "deleted")
    add_pod(cordoned, "late", stop_s=300, grace_s=300)
    cordoned.cluster.never.update({"web/two": EvictionAnswer.TWO_BUDGETS, "web/deleted": EvictionAnswer.NAMESPACE})
    progress = await bench.do(StepKind.DRAIN, "pi4-a", limit_s=40)
    assert progress.detail == (
        "5 pods ended, deleted by force:"
        " web/two (two budgets), web/deleted (a namespace in deletion), web/late (out of time)"
    )


async def test_a_battery_that_ends_sooner_shortens_what_was_given(bench: Workbench, cordoned: MemoryRack) -> None:
    """And the first reason stays: that a budget held the pod up is why there is no time for it now."""
    loop = asyncio.get_running_loop()
    add_pod(cordoned, "postgres", stop_s=300, grace_s=100)
    cordoned.cluster.refused["web/postgres"] = float("inf")
    loop.call_later(30, setattr, bench, "battery_end_at", loop.time() + 60)
    progress = (await bench.drain(*NODES, limit_s=LIMIT_S))["pi4-a"]
    assert took_s(progress) <= 60
    assert acts_on(cordoned, "postgres") == ["delete web/postgres 100s", f"delete web/postgres {DELETE_GRACE_S}s"]
    assert progress.detail == "3 pods ended, deleted by force: web/postgres (a budget)"


async def test_a_drain_after_the_last_one_looks_anew(bench: Workbench, rack: MemoryRack) -> None:
    """The next outage has its own watch, with its own order and its own patience."""
    await bench.drain(*NODES)
    await asyncio.sleep(3600)
    add_pod(rack, "shop", stop_s=10)
    add_pod(rack, "postgres", stateful_set=True)
    progress = await bench.drain(*NODES, limit_s=LIMIT_S)
    assert {step.state for step in progress.values()} == {StepState.DONE}
    assert asked_at(rack, "postgres") >= asked_at(rack, "shop") + 10


async def test_pods_that_may_take_longest_are_asked_first(bench: Workbench, rack: MemoryRack) -> None:
    """There are only so many questions at a time."""
    rack.cluster.faults.slow("evict", 1)
    for number in range(40):
        add_pod(rack, f"pod-{number}")
    add_pod(rack, "slow", grace_s=50)
    await bench.drain(*NODES)
    assert asked_at(rack, "slow") == min(act.at for act in rack.acts)


async def test_a_busy_server_is_left_alone_and_nothing_escalates(bench: Workbench, cordoned: MemoryRack) -> None:
    """It says nothing about the pods, which are asked when it has said that it may be asked again."""
    cordoned.cluster.busy_until = asyncio.get_running_loop().time() + 20
    progress = await bench.drain(*NODES, limit_s=LIMIT_S)
    assert {step.state for step in progress.values()} == {StepState.DONE}
    assert cordoned.cluster.faults.met["delete"] == 0
    assert cordoned.cluster.faults.met["evict"] == 2 * 6


async def test_force_does_not_wait_for_a_busy_server(bench: Workbench, cordoned: MemoryRack) -> None:
    """There is nothing more to lose by asking."""
    add_pod(cordoned, "slow", stop_s=300, grace_s=300)
    cordoned.cluster.busy_until = float("inf")
    progress = await bench.do(StepKind.DRAIN, "pi4-a", limit_s=60)
    assert acts_on(cordoned, "slow") == [f"delete web/slow {DELETE_GRACE_S}s"]
    assert progress.state is StepState.FORCED


async def test_one_answer_that_does_not_come_holds_up_nothing_else(bench: Workbench, rack: MemoryRack) -> None:
    """The looks go on, and the other nodes end in their own time."""
    loop = asyncio.get_running_loop()
    rack.cluster.faults.slow("evict", 30)
    loop.call_later(0.16, rack.cluster.faults.mend)
    progress = await bench.drain(*NODES)
    assert max(took_s(step) for step in progress.values()) < 35
    assert rack.cluster.faults.met["pods"] > 25


async def test_a_drain_that_runs_out_of_time_leaves_the_others_going(bench: Workbench, rack: MemoryRack) -> None:
    """Its step ends at its deadline, the watch goes on."""
    rack.cluster.node_off("pi4-a")
    add_pod(rack, "slow", stop_s=28, node="pi4-b")
    stuck = asyncio.create_task(bench.do(StepKind.DRAIN, "pi4-a", limit_s=10, minimum_s=2))
    others = await bench.drain("pi4-b", MASTER)
    assert (await stuck).state is StepState.TIMED_OUT
    assert {step.state for step in others.values()} == {StepState.DONE}


async def test_a_pod_on_the_nas_that_is_still_there_in_the_end_is_named(bench: Workbench, rack: MemoryRack) -> None:
    """By the drain that could not end it, and by the flush that comes after it."""
    rack.cluster.shares = {"web/photos": NAS, "web/books": "192.168.7.99"}
    add_pod(rack, "immich", claims=("web/photos",), stop_s=999)
    add_pod(rack, "calibre", claims=("web/books",))
    add_pod(rack, "jellyfin", file_servers=(NAS,), node="pi4-b")
    rack.cluster.node_off("pi4-a")
    progress = await bench.drain(*NODES, limit_s=40)
    assert progress["pi4-a"].state is StepState.TIMED_OUT
    assert progress["pi4-a"].detail.endswith("; with volumes on the NAS: web/immich")
    flush = await bench.do(StepKind.FLUSH, "nas")
    assert flush.detail.endswith("; still in use when its drain ended: web/immich")


async def test_a_drain_that_ends_well_leaves_nobody_on_the_nas(bench: Workbench, rack: MemoryRack) -> None:
    """Then the flush has nothing to say of pods."""
    add_pod(rack, "jellyfin", file_servers=(NAS,))
    await bench.drain(*NODES)
    assert "in use" not in (await bench.do(StepKind.FLUSH, "nas")).detail


async def test_volumes_that_cannot_be_seen_keep_nobody_from_being_drained(
    bench: Workbench, rack: MemoryRack, logged: list[MutableMapping[str, Any]]
) -> None:
    """A missing right is written to the log, and the pods end as ever."""
    rack.cluster.faults.fail("file_servers", "403 Forbidden to list persistentvolumes")
    add_pod(rack, "slow", stop_s=40, grace_s=60)
    progress = await bench.drain(*NODES)
    assert {step.state for step in progress.values()} == {StepState.DONE}
    assert [entry["error"] for entry in logged] == ["403 Forbidden to list persistentvolumes"]


async def test_a_defect_ends_every_drain_and_says_so(
    bench: Workbench, rack: MemoryRack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them waits for its deadline."""
    monkeypatch.setattr("upsd.shutdown.steps.drain_workers.next_ending", lambda *_: 1 / 0)
    progress = await bench.drain(*NODES)
    assert {step.state for step in progress.values()} == {StepState.FAILED}
    assert all("ZeroDivisionError" in step.detail for step in progress.values())
    assert took_s(progress["pi4-a"]) < 2
    assert not rack.did()


async def test_a_rehearsal_says_what_an_outage_would_force_and_why(bench: Workbench, rack: MemoryRack) -> None:
    """Each reason with its first pod; and which right is missing to name the pods on the NAS."""
    for name in ("postgres", "two", "gone"):
        add_pod(rack, name)
    rack.cluster.refused["web/postgres"] = float("inf")
    rack.cluster.never.update({"web/two": EvictionAnswer.TWO_BUDGETS, "web/gone": EvictionAnswer.NAMESPACE})
    rack.cluster.faults.fail("file_servers", "403 Forbidden to list persistentvolumes")
    progress = await bench.rehearse(StepKind.DRAIN, "pi4-a")
    assert progress.state is StepState.DONE
    assert progress.detail.split("; ") == [
        "5 pods could be ended",
        "a budget will make the drain use force: web/postgres",
        "two budgets will make the drain use force: web/two",
        "a namespace in deletion will make the drain use force: web/gone",
        "which pods use the NAS is not known: 403 Forbidden to list persistentvolumes",
    ]
    assert rack.did() == []


async def test_a_machine_that_is_no_node_is_found_out_in_a_rehearsal(bench: Workbench) -> None:
    """Its drain would find no pod to end, and it would be powered off with all that run on it."""
    progress = await bench.rehearse(StepKind.DRAIN, "pi4a")
    assert progress.state is StepState.FAILED
    assert progress.detail.startswith("the cluster has no node pi4a: correct the name in upsd.toml; it has ")
    assert "pi4-a" in progress.detail
