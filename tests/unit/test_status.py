from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace

import pytest

from tests.identities import IPLUG
from upsd.domain.plan import Evidence, Step, StepKind, StepProgress, StepState
from upsd.domain.power import Event, PhaseReading, PowerState, Reading, RuntimeEstimate, Severity
from upsd.domain.readiness import Readiness
from upsd.status import (
    STATE_PAUSE_S,
    Document,
    Snapshot,
    StatusBoard,
    Subscription,
    Topic,
    shutdown_document,
    state_document,
    status_tokens,
)

AT = "2026-11-23T19:00:00Z"

ON_LINE = Reading(at=100.0, output_powered=True, on_battery=False, battery_low=False)
ON_BATTERY = replace(ON_LINE, on_battery=True)

SNAPSHOT = Snapshot(ups="iplug", power=PowerState.ON_LINE, reading=ON_LINE)

DRAIN = Step(
    id="drain-worker-1",
    kind=StepKind.DRAIN,
    target="worker-1",
    needs=("cordon-worker-1",),
    expected_s=40.0,
    minimum_s=5.0,
    limit_s=180.0,
)


def state(power: PowerState = PowerState.ON_LINE, *, load: int | None = None) -> Document:
    """A state document that differs from others of its power by the load."""
    reading = replace(ON_LINE, load_percent=load)
    return state_document(replace(SNAPSHOT, power=power, reading=reading), at=AT, now=100.0)


def drained(subscription: Subscription, now: float = math.inf) -> list[tuple[Topic, Document]]:
    """Everything that waits for the follower at that time."""
    taken = []
    while (update := subscription.take(now)) is not None:
        taken.append(update)
    return taken


@pytest.mark.parametrize(
    ("reading", "tokens"),
    [
        (ON_LINE, "OL"),
        (replace(ON_LINE, charging=True), "OL CHRG"),
        (replace(ON_LINE, battery_low=True), "OL"),
        (ON_BATTERY, "OB DISCHRG"),
        (replace(ON_BATTERY, battery_low=True), "OB LB DISCHRG"),
        (replace(ON_LINE, on_bypass=True, overload=True), "OL BYPASS OVER"),
        (replace(ON_LINE, buck=True), "OL TRIM"),
        (replace(ON_LINE, boost=True, replace_battery=True), "OL BOOST RB"),
        (replace(ON_LINE, output_powered=False), "OL OFF"),
    ],
)
def test_the_status_is_spoken_in_nuts_words(reading: Reading, tokens: str) -> None:
    """A client of NUT's understands ups.status; a low battery counts only while it carries the load."""
    assert " ".join(status_tokens(reading)) == tokens


def test_a_battery_test_is_shown_apart_from_the_status() -> None:
    """A test reads as on battery from the flags alone, so the document says that it is one."""
    testing = replace(SNAPSHOT, reading=replace(ON_BATTERY, test_in_progress=True))
    readings = state_document(testing, at=AT, now=100.0)["readings"]
    assert isinstance(readings, dict)
    assert readings["ups.test.result"] == "In progress"
    assert readings["ups.status"] == "OB DISCHRG"


def test_the_last_battery_test_is_told_until_the_next() -> None:
    """NUT's name for it, so that what watches a UPS over NUT can watch this one."""
    tested = replace(SNAPSHOT, test_result="Done and passed")
    for reading in (ON_LINE, None):
        readings = state_document(replace(tested, reading=reading), at=AT, now=100.0)["readings"]
        assert isinstance(readings, dict)
        assert readings["ups.test.result"] == "Done and passed"


def test_a_three_phase_unit_is_shown_phase_by_phase() -> None:
    """By NUT's names; a single-phase one has none of them."""
    phases = tuple(
        PhaseReading(
            input_voltage_v=230 + number,
            bypass_voltage_v=220 + number,
            output_voltage_v=210 + number,
            load_percent=number,
            current_a=number / 10,
            real_power_w=100 * number,
            apparent_power_va=None,
        )
        for number in (1, 2, 3)
    )
    identity = replace(IPLUG, phases=(3, 3), kind="online")
    snapshot = replace(SNAPSHOT, identity=identity, reading=replace(ON_LINE, phases=phases))
    document = state_document(snapshot, at=AT, now=100.0)
    readings, device = document["readings"], document["device"]
    assert isinstance(readings, dict)
    assert isinstance(device, dict)
    assert {name: readings[name] for name in readings if "L2" in name} == {
        "input.L2-N.voltage": 232,
        "input.bypass.L2-N.voltage": 222,
        "output.L2-N.voltage": 212,
        "output.L2.power.percent": 2,
        "output.L2.current": 0.2,
        "output.L2.realpower": 200,
        "output.L2.power": None,
    }
    assert (device["input.phases"], device["output.phases"], device["ups.type"]) == (3, 3, "online")
    single = state_document(SNAPSHOT, at=AT, now=100.0)["readings"]
    assert isinstance(single, dict)
    assert not [name for name in single if "L1" in name]


def test_what_the_ups_does_not_report_is_null_under_its_nut_name() -> None:
    """An iPlug gives no charge, runtime or temperature; nothing may invent a number for them."""
    document = state_document(replace(SNAPSHOT, reading=replace(ON_LINE, input_voltage_v=231)), at=AT, now=102.04)
    readings = document["readings"]
    assert isinstance(readings, dict)
    assert readings["input.voltage"] == 231
    assert [readings[name] for name in ("battery.charge", "battery.runtime", "ups.temperature")] == [None] * 3
    assert document["reading_age_s"] == 2.0


def test_without_a_reading_every_name_is_there_and_null() -> None:
    """A program may look up any reading at any time without it being missing."""
    silent = state_document(replace(SNAPSHOT, reading=None, power=PowerState.UNKNOWN), at=AT, now=0.0)
    heard = state_document(SNAPSHOT, at=AT, now=0.0)
    assert isinstance(silent["readings"], dict)
    assert isinstance(heard["readings"], dict)
    assert silent["readings"].keys() == heard["readings"].keys()
    assert set(silent["readings"].values()) == {None}
    assert silent["reading_age_s"] is None


def test_the_state_says_how_long_the_battery_lasts_and_what_the_plan_needs() -> None:
    """On battery, the three figures that decide everything stand in the document."""
    snapshot = replace(
        SNAPSHOT,
        power=PowerState.ON_BATTERY,
        reading=ON_BATTERY,
        on_battery_s=12.34,
        runtime=RuntimeEstimate(2280.0, 1440.0, 3000.0, "model", model_s=2280.0),
        plan_expected_s=130.0,
        plan_minimum_s=45.0,
        plan_evidence=Evidence(14, 17, 3, "2026-11-20"),
        starts_in_s=660.0,
        outage="2026-11-23-1",
        warnings=("the NAS does not answer",),
    )
    document = state_document(snapshot, at=AT, now=100.0)
    assert document["schema"] == 1
    assert document["on_battery_s"] == 12.3
    assert document["runtime"] == {
        "expected_s": 2280.0,
        "low_s": 1440.0,
        "high_s": 3000.0,
        "source": "model",
        "model_s": 2280.0,
        "ups_s": None,
    }
    assert document["plan"] == {
        "expected_s": 130.0,
        "minimum_s": 45.0,
        "measured": {"steps": 14, "of": 17, "fewest_runs": 3, "oldest_on": "2026-11-20"},
        "starts_in_s": 660.0,
    }
    assert (document["outage"], document["warnings"]) == ("2026-11-23-1", ["the NAS does not answer"])
    assert json.loads(json.dumps(document)) == document


def test_the_device_is_described_by_nut_names() -> None:
    """Nominal values of the UPS are told apart from what it measures."""
    identity = replace(IPLUG, model="iPlug 800", firmware="1.2", battery_capacity_ah=9)
    device = state_document(replace(SNAPSHOT, identity=identity), at=AT, now=100.0)["device"]
    assert isinstance(device, dict)
    assert device["device.model"] == "iPlug 800"
    assert device["device.serial"] is None
    assert device["ups.realpower.nominal"] == 480


@pytest.mark.parametrize(
    ("progress", "times"),
    [
        (StepProgress(DRAIN), (None, None, None)),
        (
            StepProgress(DRAIN, StepState.RUNNING, started_at=90.0, deadline_at=130.0),
            (10.0, 10.0, 30.0),
        ),
        (
            StepProgress(DRAIN, StepState.DONE, started_at=70.0, ended_at=95.0, deadline_at=130.0),
            (30.0, 25.0, None),
        ),
    ],
)
def test_a_steps_times_need_no_clock_to_be_read(
    progress: StepProgress, times: tuple[float | None, float | None, float | None]
) -> None:
    """A retained document tells how long ago, how long, and how long still, with no clock in common."""
    document = shutdown_document(
        phase="shutting-down", outage="o", reason="battery low", progress=[progress], at=AT, now=100.0
    )
    assert isinstance(document["steps"], list)
    (step,) = document["steps"]
    assert (step["started_s_ago"], step["seconds"], step["deadline_in_s"]) == times
    assert (step["id"], step["kind"], step["target"]) == ("drain-worker-1", "drain", "worker-1")


def test_a_new_board_says_that_nothing_is_known() -> None:
    """Before the first reading a reader sees unknown, not the state of yesterday and not an error."""
    board = StatusBoard("iplug")
    assert board.state["power"] == "unknown"
    assert board.shutdown["phase"] == "idle"


def test_a_follower_begins_with_what_is_current() -> None:
    """Who subscribes late still knows at once."""
    board = StatusBoard("iplug")
    board.set_state(state(load=7))
    board.emit(Event("too_early"), AT)
    with board.subscribe() as subscription:
        assert drained(subscription) == [("state", board.state), ("shutdown", board.shutdown)]


def test_a_slow_follower_gets_the_latest_state_and_every_event_in_order() -> None:
    """Old states are of no use to anybody; events are history and keep their order."""
    board = StatusBoard("iplug")
    with board.subscribe() as subscription:
        drained(subscription)
        for load in range(5):
            board.set_state(state(load=load))
            board.emit(Event("load_changed", fields={"load": load}), AT)
        updates = drained(subscription)
    assert updates[0] == ("state", board.state)
    assert [document["fields"] for topic, document in updates if topic == "event"] == [
        {"load": load} for load in range(5)
    ]


def test_a_follower_that_lags_too_far_is_told_how_much_it_lost() -> None:
    """The oldest events go first, and their number stands where they were."""
    board = StatusBoard("iplug")
    with board.subscribe(events=3) as subscription:
        drained(subscription)
        for number in range(10):
            board.emit(Event("tick", Severity.INFO, {"number": number}), AT)
        lost, *kept = [document for _, document in drained(subscription)]
    assert (lost["event_type"], lost["fields"]) == ("events_lost", {"count": 7})
    assert [document["fields"] for document in kept] == [{"number": number} for number in (7, 8, 9)]


def test_one_slow_follower_costs_another_nothing() -> None:
    """Each follower has a line of its own."""
    board = StatusBoard("iplug")
    with board.subscribe(events=1), board.subscribe(events=10) as quick:
        drained(quick)
        for _ in range(5):
            board.emit(Event("tick"), AT)
        assert [document["event_type"] for _, document in drained(quick)] == ["tick"] * 5


def test_states_of_the_same_power_come_no_faster_than_twice_a_second() -> None:
    """A burst of readings may not become a burst on the network."""
    board = StatusBoard("iplug")
    with board.subscribe() as subscription:
        drained(subscription, now=0.0)
        board.set_state(state(load=1))
        assert drained(subscription, now=0.0)  # another power than before: at once
        board.set_state(state(load=2))
        assert drained(subscription, now=STATE_PAUSE_S / 2) == []
        assert drained(subscription, now=STATE_PAUSE_S) == [("state", board.state)]


def test_a_change_of_power_is_shown_at_once() -> None:
    """Nobody waits for the next turn to learn that the mains is gone."""
    board = StatusBoard("iplug")
    board.set_state(state())
    with board.subscribe() as subscription:
        drained(subscription, now=0.0)
        board.set_state(state(PowerState.ON_BATTERY))
        assert subscription.take(0.0) == ("state", board.state)


async def test_a_follower_wakes_up_for_a_state_that_was_held_back() -> None:
    """A held back state comes by itself when its turn is there, even if nothing else happens."""
    board = StatusBoard("iplug")
    board.set_state(state(load=1))
    with board.subscribe() as subscription:
        seen = [await anext(subscription), await anext(subscription)]
        board.set_state(state(load=2))
        async with asyncio.timeout(5.0):
            seen.append(await anext(subscription))
    assert seen[-1] == ("state", board.state)


async def test_a_waiting_follower_wakes_up_for_an_event() -> None:
    """The way from an event to its readers has no polling in it."""
    board = StatusBoard("iplug")
    with board.subscribe() as subscription:
        drained(subscription)
        waiting = asyncio.ensure_future(subscription.__anext__())
        await asyncio.sleep(0)
        board.emit(Event("mains_lost", Severity.CRITICAL), AT)
        async with asyncio.timeout(5.0):
            topic, document = await waiting
    assert (topic, document["event_type"], document["severity"]) == ("event", "mains_lost", "critical")
    assert (document["at"], document["ups"]) == (AT, "iplug")


def test_the_verdict_is_part_of_the_state() -> None:
    """Not judged is not the same as not ready."""
    assert state_document(SNAPSHOT, at=AT, now=100.0)["readiness"] is None
    verdict = Readiness(ready=False, because=("x",), armed=True, proven_steps=3, of=4, oldest_proof="2026-11-20")
    assert state_document(replace(SNAPSHOT, readiness=verdict), at=AT, now=100.0)["readiness"] == {
        "ready": False,
        "because": ["x"],
        "armed": True,
        "proven_steps": 3,
        "of": 4,
        "oldest_proof": "2026-11-20",
    }
