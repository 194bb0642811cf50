"""The order in which the rack goes off and comes back: nothing goes before what needs it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plans import CLUSTER, DATASTORE, NAS, RACK, before, ids, of_kind, shapes
from upsd.domain.plan import PlanPurpose, StepKind
from upsd.shutdown.plan import (
    HostShape,
    RackShape,
    over_before,
    point_of_no_return,
    recovery_plan,
    shed_plan,
    shutdown_plan,
    undo_plan,
)

ASKING = {StepKind.CORDON, StepKind.DRAIN, StepKind.SNAPSHOT}
"""What needs the API."""


def test_the_reference_rack_goes_off_in_the_order_of_the_design() -> None:
    """The plan that people read and that runs."""
    assert ids(shutdown_plan(RACK)) == [
        "announce",
        "cordon",
        "drain pi4-a",
        "drain pi4-b",
        "drain k3s-master",
        "poweroff pi4-a",
        "confirm-off pi4-a",
        "poweroff pi4-b",
        "confirm-off pi4-b",
        "unmount nas",
        "flush nas",
        "last-look",
        "outlet-cycle",
        "host-poweroff k3s-master",
    ]


def test_agents_go_before_the_snapshot_and_servers_after_it() -> None:
    """As people read it; the master's own server is stopped at the same time as the others."""
    workers = (
        HostShape("pi5-a", 20, 120, server=True),
        HostShape("pi4", 20, 120),
        HostShape("pi5-b", 20, 120, server=True),
    )
    plan = shutdown_plan(replace(RACK, workers=workers, datastore=replace(DATASTORE, stops=True)))
    assert ids(plan)[6:] == [
        "poweroff pi4",
        "confirm-off pi4",
        "snapshot k3s",
        "stop k3s",
        "poweroff pi5-a",
        "confirm-off pi5-a",
        "poweroff pi5-b",
        "confirm-off pi5-b",
        "unmount nas",
        "flush nas",
        "last-look",
        "outlet-cycle",
        "host-poweroff k3s-master",
    ]
    assert {step.needs for step in plan.steps if step.id in {"stop k3s", "poweroff pi5-a", "poweroff pi5-b"}} == {
        ("snapshot k3s",)
    }


@given(shapes)
def test_every_step_comes_after_what_it_needs(shape: RackShape) -> None:
    """Any rack's plans are in an order that can run, with no name twice."""
    for plan in (shutdown_plan(shape), recovery_plan(shape), undo_plan(shutdown_plan(shape), {"cordon"}, shape)):
        seen: set[str] = set()
        for step in plan.steps:
            assert set(step.needs) <= seen
            assert step.id not in seen
            seen.add(step.id)


@given(shapes)
def test_durations_are_in_order(shape: RackShape) -> None:
    """A step's minimum fits into what it usually takes, and into its limit."""
    for plan in (shutdown_plan(shape), recovery_plan(shape)):
        for step in plan.steps:
            assert 0 < step.minimum_s <= min(step.expected_s, step.limit_s)


@given(shapes)
def test_no_pod_moves_to_a_machine_that_is_about_to_die(shape: RackShape) -> None:
    """Every drain follows the cordon of the whole cluster."""
    plan = shutdown_plan(shape)
    assert all("cordon" in before(plan, drain.id) for drain in of_kind(plan, StepKind.DRAIN))


@given(shapes)
def test_an_agent_is_drained_before_it_goes_off(shape: RackShape) -> None:
    """Its own drain, and not those of others, which may take longer."""
    plan = shutdown_plan(shape)
    for agent in shape.agents:
        drains = {step for step in before(plan, f"poweroff {agent.name}") if step.startswith("drain")}
        assert drains == ({f"drain {agent.name}"} if shape.cluster else set())


@given(shapes)
def test_a_server_goes_off_when_nobody_needs_its_datastore_any_more(shape: RackShape) -> None:
    """After the last agent, and after every step that asks the API; none waits for another."""
    plan = shutdown_plan(shape)
    asking = {step.id for step in plan.steps if step.kind in ASKING}
    for server in shape.servers:
        over = before(plan, f"poweroff {server.name}")
        assert over >= asking | {f"confirm-off {agent.name}" for agent in shape.agents}
        assert not {f"poweroff {other.name}" for other in shape.servers} & over
        assert f"confirm-off {server.name}" in before(plan, "outlet-cycle")


@given(shapes, st.data())
def test_a_shutdown_after_a_shedding_that_is_taken_up_again_asks_no_api_without_a_quorum(
    shape: RackShape, data: st.DataObject
) -> None:
    """Wherever it was interrupted; and that a server went off early proves nothing of what comes before the others."""
    plan = shutdown_plan(shape)
    names = [worker.name for worker in shape.workers]
    wanted = data.draw(st.sets(st.sampled_from(names)) if names else st.just(set()))
    shed = wanted - shape.kept_for_quorum(wanted, ())
    early = {step.id for step in shed_plan(shape, shed).steps}
    tried = early | set(ids(plan)[: data.draw(st.integers(0, len(plan.steps)))])
    over = over_before(plan, tried, (), shed=shed)
    begun = {step.target for step in of_kind(plan, StepKind.POWEROFF) if step.id in tried and step.target not in shed}
    if begun & {server.name for server in shape.servers}:
        assert {step.id for step in plan.steps if step.kind in ASKING and step.target not in shed} <= over
    if tried == early:
        assert not {step.id for step in plan.steps if step.target not in shed} & over


@pytest.mark.parametrize(
    ("servers", "down", "may_go"),
    [(1, 0, 0), (2, 0, 1), (2, 1, 0), (3, 0, 1), (4, 0, 2), (4, 1, 1), (4, 3, 0)],
)
def test_no_more_servers_go_off_early_than_the_quorum_can_spare(servers: int, down: int, may_go: int) -> None:
    """Beside the master's; those that are down anyway count, and agents do not."""
    names = [f"server-{number}" for number in range(servers)]
    shape = replace(
        RACK, workers=(HostShape("pi3", 20, 120), *(HostShape(name, 20, 120, server=True) for name in names))
    )
    away = names[:down]
    kept = shape.kept_for_quorum({*names, "pi3"}, away)
    assert kept <= set(names) - set(away)
    assert len(names) - len(away) - len(kept) == may_go


@given(shapes)
def test_the_nas_goes_when_nobody_writes_to_it_any_more(shape: RackShape) -> None:
    """Every worker is seen off and the master's pods have ended before the unmount."""
    plan = shutdown_plan(shape)
    for unmount in of_kind(plan, StepKind.UNMOUNT):
        over = before(plan, unmount.id)
        assert {f"confirm-off {worker.name}" for worker in shape.workers} <= over
        assert "drain k3s-master" in over or not shape.cluster


@given(shapes)
def test_the_datastore_is_copied_when_nothing_changes_it_and_before_its_place_may_go(shape: RackShape) -> None:
    """After every drain and every agent; before the NAS is unmounted, on which it may be put."""
    plan = shutdown_plan(shape)
    assert len(of_kind(plan, StepKind.SNAPSHOT)) == (shape.datastore is not None)
    for snapshot in of_kind(plan, StepKind.SNAPSHOT):
        drains = {step.id for step in plan.steps if step.kind is StepKind.DRAIN}
        assert drains | {f"confirm-off {agent.name}" for agent in shape.agents} <= before(plan, snapshot.id)
        for unmount in of_kind(plan, StepKind.UNMOUNT):
            assert snapshot.id in before(plan, unmount.id)


@given(shapes)
def test_nothing_needs_the_api_once_its_server_is_stopped(shape: RackShape) -> None:
    """It is stopped only where the settings say so, after the snapshot."""
    plan = shutdown_plan(shape)
    stops = of_kind(plan, StepKind.STOP)
    assert len(stops) == (shape.datastore is not None and shape.datastore.stops)
    for stop in stops:
        assert "snapshot k3s" in before(plan, stop.id)
        assert not [step for step in plan.steps if step.kind in ASKING and stop.id in before(plan, step.id)]


def test_a_server_that_was_stopped_is_started_again_before_anything_asks_its_api() -> None:
    """Once its volumes are there; and only if it was stopped."""
    shape = replace(RACK, workers=(), datastore=replace(DATASTORE, stops=True))
    plan = shutdown_plan(shape)
    assert point_of_no_return(plan) == "outlet-cycle"
    undone = undo_plan(plan, {"cordon", "snapshot k3s", "stop k3s", "unmount nas"}, shape)
    assert ids(undone) == ["wait-storage nas", "start k3s", "uncordon", "workloads"]
    assert before(undone, "uncordon") == {"wait-storage nas", "start k3s"}
    assert "start k3s" not in ids(undo_plan(plan, {"cordon", "snapshot k3s"}, shape))


@given(shapes)
def test_a_recovery_starts_the_server_that_a_shutdown_stops(shape: RackShape) -> None:
    """Also where this machine never went off; before the API is asked, and after the NAS is there."""
    plan = recovery_plan(shape)
    starts = of_kind(plan, StepKind.START)
    assert len(starts) == len(of_kind(shutdown_plan(shape), StepKind.STOP))
    for start in starts:
        assert {step.id for step in of_kind(plan, StepKind.WAIT_STORAGE)} <= before(plan, start.id)
        for ready in of_kind(plan, StepKind.WAIT_READY):
            assert start.id in before(plan, ready.id)


def test_a_shutdown_that_is_taken_up_goes_on_where_it_was() -> None:
    """What had to be over for what began is over; a look commits to nothing; the outlets always count down anew."""
    plan = shutdown_plan(RACK)
    told = {"announce", "cordon", "drain pi4-a"}
    assert over_before(plan, {"poweroff pi4-a"}, ()) == told
    assert "poweroff pi4-a" not in over_before(plan, {"poweroff pi4-a", "confirm-off pi4-a"}, told)
    looked = {"announce", "cordon", "unmount nas", "flush nas", "last-look"}
    assert "flush nas" not in over_before(plan, looked, {"announce", "cordon", "unmount nas", "last-look"})
    cycled = over_before(plan, {*looked, "outlet-cycle"}, {"outlet-cycle"})
    assert cycled == set(ids(plan)) - {"outlet-cycle", "host-poweroff k3s-master"}


@pytest.mark.parametrize(("off_delay_s", "limit_s"), [(180, 20), (60, 20), (50, 10), (42, 2), (40, 1)])
def test_a_ups_that_obeys_and_is_not_heard_does_not_cut_off_a_running_master(
    off_delay_s: float, limit_s: float
) -> None:
    """The outlets count from the first command, so no more is tried than leaves the master its time to power off."""
    step = next(
        step for step in shutdown_plan(replace(RACK, outlet_off_delay_s=off_delay_s)).steps if step.id == "outlet-cycle"
    )
    assert step.limit_s == limit_s
    assert step.minimum_s <= step.expected_s <= step.limit_s


@given(shapes)
def test_the_outlets_and_the_master_come_last(shape: RackShape) -> None:
    """Everything else is over before the outlets are scheduled, and only the master's end follows."""
    plan = shutdown_plan(shape)
    assert before(plan, "outlet-cycle") == set(ids(plan)) - {"outlet-cycle", "host-poweroff k3s-master"}
    assert ids(plan)[-1] == "host-poweroff k3s-master"


def test_a_nas_that_is_powered_off_goes_after_its_flush() -> None:
    """And is seen off before the outlets are scheduled."""
    plan = shutdown_plan(replace(RACK, storage=replace(NAS, host=HostShape("nas", 40, 120))))
    assert "flush nas" in before(plan, "poweroff nas")
    assert "confirm-off nas" in before(plan, "outlet-cycle")


@pytest.mark.parametrize(
    ("shape", "step"),
    [
        (RACK, "poweroff pi4-a"),
        (replace(RACK, workers=()), "outlet-cycle"),
        (replace(RACK, workers=(), storage=replace(NAS, host=HostShape("nas", 40, 120))), "poweroff nas"),
    ],
)
def test_the_point_of_no_return_is_the_first_power_off(shape: RackShape, step: str) -> None:
    """All before it can be undone."""
    assert point_of_no_return(shutdown_plan(shape)) == step


@given(shapes)
def test_no_plan_that_brings_back_passes_a_point_of_no_return(shape: RackShape) -> None:
    """An abort or a recovery can always give way to a new outage."""
    assert point_of_no_return(recovery_plan(shape)) is None
    plan = shutdown_plan(shape)
    assert point_of_no_return(undo_plan(plan, ids(plan), shape)) is None


@pytest.mark.parametrize(
    ("began", "undone"),
    [
        (set(), []),
        ({"announce"}, []),
        ({"announce", "cordon"}, ["uncordon", "workloads"]),
        ({"announce", "cordon", "drain pi4-a"}, ["uncordon", "workloads"]),
        ({"announce", "cordon", "drain k3s-master", "unmount nas"}, ["wait-storage nas", "uncordon", "workloads"]),
        ({"announce", "unmount nas"}, ["wait-storage nas"]),
    ],
)
def test_an_abort_undoes_exactly_what_began(began: set[str], undone: list[str]) -> None:
    """What was not touched stays so."""
    plan = undo_plan(shutdown_plan(RACK), began, RACK)
    assert ids(plan) == undone
    assert plan.purpose is PlanPurpose.ABORT


def test_the_recovery_comes_in_the_order_in_which_one_needs_the_other() -> None:
    """Battery, NAS, workers, nodes; and pods that start find their volumes and their machine."""
    plan = recovery_plan(replace(RACK, storage=replace(NAS, host=HostShape("nas", 40, 120))))
    assert ids(plan) == [
        "wait-battery",
        "wait-host nas",
        "wait-storage nas",
        "wait-host pi4-a",
        "wait-host pi4-b",
        "wait-ready",
        "uncordon",
        "workloads",
    ]
    for number, step in enumerate(plan.steps):
        others = {"wait-host pi4-a"} if step.id == "wait-host pi4-b" else set()
        assert before(plan, step.id) == set(ids(plan)[:number]) - others


@given(shapes)
def test_servers_are_waited_for_before_agents(shape: RackShape) -> None:
    """Until the API answers, for which a quorum is enough: one that stays off keeps no agent waiting."""
    plan = recovery_plan(shape)
    waits = {f"wait-host {server.name}" for server in shape.servers}
    assert len(of_kind(plan, StepKind.WAIT_QUORUM)) == bool(shape.servers and shape.cluster)
    for agent in shape.agents:
        over = before(plan, f"wait-host {agent.name}")
        assert over & {*waits, "wait-quorum"} == ({"wait-quorum"} if shape.cluster and waits else waits)
    for ready in of_kind(plan, StepKind.WAIT_READY):
        assert {f"wait-host {worker.name}" for worker in shape.workers} <= before(plan, ready.id)


@given(shapes)
def test_nothing_is_brought_back_before_the_battery_carries_it(shape: RackShape) -> None:
    """In any rack."""
    plan = recovery_plan(shape)
    assert all("wait-battery" in before(plan, step) for step in ids(plan)[1:])


def test_a_dead_worker_does_not_keep_the_others_from_being_waited_for() -> None:
    """Each is waited for by itself, within its limit."""
    plan = recovery_plan(RACK)
    assert "wait-host pi4-a" not in before(plan, "wait-host pi4-b")


def test_a_rack_of_nothing_but_a_master_has_a_plan() -> None:
    """The thinnest rack still announces, schedules its outlets and goes off."""
    plan = shutdown_plan(replace(RACK, workers=(), cluster=None, storage=None))
    assert ids(plan) == ["announce", "outlet-cycle", "host-poweroff k3s-master"]
    assert ids(recovery_plan(replace(RACK, workers=(), cluster=None, storage=None))) == ["wait-battery"]


def test_a_forced_drain_has_time_for_the_grace_of_its_deletions() -> None:
    """What is deleted by force still gets its seconds."""
    drain = of_kind(shutdown_plan(RACK), StepKind.DRAIN)[0]
    assert drain.minimum_s >= CLUSTER.delete_grace_s + 1
