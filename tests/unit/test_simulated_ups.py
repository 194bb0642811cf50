from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardware_sim.ups import frames
from hardware_sim.ups.battery import BatterySpec
from hardware_sim.ups.device import NotPossibleError, UpsDevice
from hardware_sim.ups.faults import FALSE_OFF, NONSENSE, UNTIL_SET_BACK, Faults
from hardware_sim.ups.frames import CheckMode, NakCode
from hardware_sim.ups.profiles import CRC_MODE, FULL_REPORT, IPLUG_800, Profile
from hardware_sim.ups.responder import Responder

VECTORS: dict[str, dict[str, Any]] = {
    vector["id"]: vector for vector in json.loads((Path(__file__).parent / "gpser_vectors.json").read_text("utf-8"))
}


def frame_of(name: str) -> bytes:
    """The bytes of a vector."""
    return bytes.fromhex(VECTORS[name]["hex"])


def running(
    profile: Profile = IPLUG_800, load_w: float = 70.0, *, health: float = 1.0, charge: float = 1.0
) -> UpsDevice:
    """A UPS whose clock stands at 0."""
    device = UpsDevice(profile, load_w=lambda: load_w, battery=BatterySpec(health=health), charge=charge)
    device.advance(0.0)
    return device


def ask(responder: Responder, name: str, now: float = 0.0) -> bytes:
    """The reply to the request of this vector."""
    return responder.answer(frame_of(name), now)


def test_an_iplug_answers_as_the_real_one() -> None:
    """GI, GN and a quiet RS are the vectors byte for byte, and RE is refused as two real units refuse it."""
    device = running()
    device.set_input(235.0, 50.1)
    device.advance(3600.0)
    responder = Responder(device)
    assert ask(responder, "Q-sum16-GI") == frame_of("R1")
    assert ask(responder, "Q-sum16-GN") == frame_of("R2")
    assert ask(responder, "Q-sum16-RS") == frame_of("R3")
    assert ask(responder, "Q-sum16-RE") == frame_of("R10")


@pytest.mark.parametrize(("request_name", "reply"), [("CS 120", "R12"), ("CD", "R13"), ("TB", "R14")])
def test_commands_are_acknowledged_as_in_the_vectors(request_name: str, reply: str) -> None:
    """An accepted command comes back with its own letters and no data."""
    assert ask(Responder(running()), f"Q-sum16-{request_name}") == frame_of(reply)


def test_a_crc_unit_refuses_a_summed_frame_but_identifies_itself_with_the_sum() -> None:
    """GI goes with the sum in both directions whatever the mode; all else needs the CRC."""
    responder = Responder(running(CRC_MODE))
    assert ask(responder, "Q-sum16-RS") == frame_of("R11")
    identification = ask(responder, "Q-sum16-GI")
    assert identification[-5:-1] == frames.check_digits(identification[1:-5], CheckMode.SUM)
    assert identification[55:56] == b"1"
    status = ask(responder, "Q-crc16-RS")
    assert status[-5:-1] == frames.check_digits(status[1:-5], CheckMode.CRC)


def test_an_iplug_hides_what_it_does_not_measure() -> None:
    """Charge, minutes, temperature and bypass are all `?` and the load is 0, also with machines plugged in."""
    reply = ask(Responder(running(load_w=300.0)), "Q-sum16-RS")
    assert reply[24:26] == b"00"
    assert reply[26:32] == b"??????"
    assert reply[36:43] == b"???????"


def test_a_full_report_tells_load_charge_and_minutes() -> None:
    """With 240 of 480 W the load is 50 %, and the minutes are what a discharge at that load would last."""
    device = running(FULL_REPORT, load_w=240.0)
    reply = ask(Responder(device), "Q-sum16-RS")
    assert frames.number_of(reply[24:26]) == 50
    assert frames.number_of(reply[36:38]) == 100
    device.cut_mains()
    minutes = frames.number_of(reply[38:41])
    assert minutes is not None
    device.advance(60.0 * minutes - 61.0)
    assert not device.battery_low
    device.advance(60.0 * minutes + 61.0)
    assert device.battery_low


@pytest.mark.parametrize(
    ("volts", "on_battery"), [(0, True), (164, True), (165, False), (230, False), (280, False), (281, True)]
)
def test_bad_mains_puts_it_on_battery(volts: float, *, on_battery: bool) -> None:
    """A brown-out and an over-voltage are as good as no mains at all."""
    device = running()
    device.brown_out(volts)
    device.advance(1.0)
    status = device.status()
    assert (status.battery_working, status.beeper_on) == (on_battery, on_battery)
    assert status.input_voltage_v == volts
    assert status.output_powered


@pytest.mark.parametrize(("volts", "boost", "buck"), [(190, True, False), (230, False, False), (265, False, True)])
def test_poor_mains_is_raised_or_lowered(volts: float, *, boost: bool, buck: bool) -> None:
    """Within its window the unit corrects the voltage and says so."""
    device = running()
    device.brown_out(volts)
    status = device.status()
    assert (status.boost, status.buck) == (boost, buck)
    assert status.output_voltage_v is not None
    assert 215 <= status.output_voltage_v <= 235


def test_a_discharge_ends_with_the_low_flag_and_then_the_outlets_go_dead() -> None:
    """Low battery comes minutes before the cut-off, and nothing answers after it."""
    device = running()
    outlets: list[tuple[float, bool]] = []
    low_at = None
    device.cut_mains()
    for second in range(4000):
        device.advance(float(second))
        if low_at is None and device.status().battery_low:
            low_at = second
        if not device.outlets.on:
            outlets.append((second, device.outlets.on))
            break
    assert low_at is not None
    assert 1400 < low_at < 1750
    assert 100 < outlets[0][0] - low_at < 300
    assert ask(Responder(device), "Q-sum16-RS", outlets[0][0]) == b""


def test_after_a_run_out_it_starts_by_itself_when_the_mains_returns() -> None:
    """The machines hear of both switchings, in that order, and the battery charges again."""
    device = running(charge=0.3)
    heard: list[bool] = []
    device.listen(heard.append)
    device.cut_mains()
    device.advance(3000.0)
    assert heard == [False]
    device.restore_mains()
    assert heard == [False, True]
    assert device.status().charging


def test_a_worn_unit_may_stay_off_after_a_run_out() -> None:
    """A profile that needs a person's hand stays off until the button is pressed."""
    device = running(replace(IPLUG_800, starts_after_run_out=False), charge=0.1)
    device.cut_mains()
    device.advance(3000.0)
    device.restore_mains()
    device.advance(4000.0)
    assert not device.outlets.on
    device.press_button()
    assert device.outlets.on


def test_restore_cycles_the_outlets_even_if_the_mains_never_left() -> None:
    """CR 120/2: off after two minutes, on again two minutes after that."""
    device = running()
    ask(Responder(device), "Q-sum16-CR 120/2")
    switched: list[tuple[float, bool]] = []
    for tenth in range(3000):
        device.advance(tenth / 10)
        if not switched or switched[-1][1] != device.outlets.on:
            switched.append((tenth / 10, device.outlets.on))
    assert switched == [(0.0, True), (120.0, False), (240.0, True)]


def test_a_restore_of_no_minutes_takes_ten_seconds() -> None:
    """CR 0/0 switches off at once and on after 10 s."""
    device = running()
    ask(Responder(device), "Q-sum16-CR 0/0")
    assert not device.outlets.on
    device.advance(9.9)
    assert not device.outlets.on
    device.advance(10.0)
    assert device.outlets.on


def test_a_restore_waits_for_the_mains() -> None:
    """Without mains the outlets stay off past the restore time, and come on with it."""
    device = running()
    device.cut_mains()
    ask(Responder(device), "Q-sum16-CR 120/2")
    device.advance(1000.0)
    assert not device.outlets.on
    assert device.awake
    device.restore_mains()
    assert device.outlets.on


def test_a_profile_may_restore_onto_the_battery() -> None:
    """Where the restore does not wait for mains, the battery carries the load again."""
    device = running(replace(IPLUG_800, restore_needs_mains=False))
    device.cut_mains()
    device.shutdown_and_restore(0, 0)
    device.advance(11.0)
    assert device.on_battery


def test_timers_show_in_the_flags() -> None:
    """Shutdown active while the delay runs, imminent in its last half minute."""
    device = running()
    device.shutdown(60)
    device.advance(20.0)
    early = device.status()
    device.advance(40.0)
    late = device.status()
    assert (early.shutdown_active, early.shutdown_imminent) == (True, False)
    assert (late.shutdown_active, late.shutdown_imminent) == (True, True)


def test_cancel_stops_a_waiting_shutdown() -> None:
    """CD before the delay is over: nothing goes off."""
    device = running()
    device.shutdown_and_restore(120, 2)
    ask(Responder(device), "Q-sum16-CD", 60.0)
    device.advance(1000.0)
    assert device.outlets.on
    assert not device.status().shutdown_active


def test_cancel_after_switch_off_leaves_the_machines_dark() -> None:
    """CD while waiting to restore cancels the restore; only another CR brings the outlets back."""
    device = running()
    device.shutdown_and_restore(0, 2)
    responder = Responder(device)
    ask(responder, "Q-sum16-CD", 60.0)
    device.advance(5000.0)
    assert not device.outlets.on
    ask(responder, "Q-sum16-CR 0/0", 5000.0)
    device.advance(5010.0)
    assert device.outlets.on


def test_a_shutdown_on_battery_ends_when_the_mains_returns() -> None:
    """CS on battery: off, silent, and on again with the mains, as an iDialog did."""
    device = running()
    device.cut_mains()
    device.shutdown(5)
    device.advance(100.0)
    assert not device.outlets.on
    assert not device.awake
    device.restore_mains()
    assert device.outlets.on


def test_a_shutdown_with_mains_present_stays_off_until_the_mains_has_been_away() -> None:
    """The power race: CS alone leaves the machines off if the mains came back before the outlets went off."""
    device = running()
    device.cut_mains()
    device.shutdown(60)
    device.advance(30.0)
    device.restore_mains()
    device.advance(10_000.0)
    assert not device.outlets.on
    device.cut_mains()
    device.restore_mains()
    assert device.outlets.on


@pytest.mark.parametrize("command", ["CS 5", "CR 120/2"])
def test_a_second_shutdown_is_refused_while_one_waits(command: str) -> None:
    """Not possible at this moment (NAK 5), unless the profile lets the later one count."""
    refusing = running()
    refusing.shutdown(60)
    assert ask(Responder(refusing), f"Q-sum16-{command}")[3:5] == b"\x155"
    replacing = running(replace(IPLUG_800, replaces_pending_shutdown=True))
    replacing.shutdown(60)
    assert ask(Responder(replacing), f"Q-sum16-{command}")[3:5] == command[:2].encode()


def test_a_shutdown_is_refused_when_the_outlets_are_off() -> None:
    """There is nothing left to switch off."""
    device = running()
    device.shutdown_and_restore(0, 60)
    with pytest.raises(NotPossibleError):
        device.shutdown(0)


def test_a_battery_test_runs_on_battery_and_says_that_it_is_a_test() -> None:
    """For ten seconds battery and test flag are set together, without beeper; the mains is there all the time."""
    device = running()
    ask(Responder(device), "Q-sum16-TB")
    device.advance(5.0)
    status = device.status()
    assert (status.battery_working, status.test_in_progress, status.beeper_on) == (True, True, False)
    assert device.battery.voltage_v < 13.0
    device.advance(10.0)
    assert not device.status().battery_working


def test_a_battery_test_finds_a_worn_out_battery() -> None:
    """A battery that falls to the low mark within the test is to be replaced, and no outlet goes off."""
    device = running(load_w=300.0, health=0.12)
    device.test_battery()
    device.advance(20.0)
    assert device.status().replace_battery
    assert device.outlets.on


def test_mains_lost_within_a_test_is_an_outage() -> None:
    """The test flag goes, the battery flag stays."""
    device = running()
    device.test_battery()
    device.cut_mains()
    assert (device.testing, device.on_battery) == (False, True)


def test_a_test_is_refused_on_battery() -> None:
    """No test while the battery is needed."""
    device = running()
    device.cut_mains()
    assert ask(Responder(device), "Q-sum16-TB")[3:5] == b"\x155"


def test_speed_makes_the_battery_faster_and_the_timers_not() -> None:
    """Ten times as fast a discharge, while a delay of 60 s stays 60 s."""
    device = UpsDevice(load_w=lambda: 70.0, speed=10.0)
    device.advance(1e6)
    device.cut_mains()
    device.shutdown(60)
    device.advance(1e6 + 59.9)
    assert device.outlets.on
    assert device.battery.charge < 0.85
    device.advance(1e6 + 60.0)
    assert not device.outlets.on


def test_the_load_is_asked_for_as_it_changes() -> None:
    """Machines that go off lengthen the discharge."""
    machines = {"worker": 150.0, "master": 20.0}
    device = UpsDevice(load_w=lambda: sum(machines.values()))
    device.advance(0.0)
    device.cut_mains()
    device.advance(60.0)
    heavy_a = device.battery.current_a
    del machines["worker"]
    device.advance(61.0)
    assert device.battery.current_a < 0.3 * heavy_a


def test_faults_spoil_as_many_replies_as_they_say() -> None:
    """Each counter spoils its replies and then the UPS is well again."""
    responder = Responder(running(), Faults(corrupt_replies=1, truncate_replies=1, echo_replies=1))
    asked = frame_of("Q-sum16-GN")
    good = frame_of("R2")
    replies = [ask(responder, "Q-sum16-GN") for _ in range(4)]
    assert replies[0] == asked
    assert sum(a != b for a, b in zip(replies[1], good, strict=True)) == 1
    assert replies[2] == good[:17]
    assert replies[3] == good


def test_a_status_may_say_anything_and_is_properly_sealed() -> None:
    """A reader can't tell it by the check digits: 4094 V, or an output that is off, for as many replies as asked."""
    faults = Faults()
    responder = Responder(running(), faults)
    faults.override(NONSENSE)
    nonsense = ask(responder, "Q-sum16-RS")
    assert frames.number_of(nonsense[15:18]) == 4094
    assert nonsense[-5:-1] == frames.check_digits(nonsense[1:-5], CheckMode.SUM)
    faults.override(FALSE_OFF, 2)
    assert [ask(responder, "Q-sum16-RS")[7:8] for _ in range(3)] == [b"0", b"0", b"8"]


def test_one_figure_alone_can_be_implausible() -> None:
    """An input frequency of 0 beside 230 V of input; everything else as measured."""
    responder = Responder(running())
    honest = ask(responder, "Q-sum16-RS")
    responder.faults.override({"input_frequency_hz": 0.0})
    assert ask(responder, "Q-sum16-RS")[7:-5] == honest[7:12] + b"000" + honest[15:-5]


def test_a_storm_of_refusals_lasts_until_it_is_set_back() -> None:
    """A counter of -1 is never spent."""
    responder = Responder(running(), Faults(nak_replies=UNTIL_SET_BACK))
    assert {ask(responder, "Q-sum16-RS")[3:5] for _ in range(20)} == {b"\x155"}
    responder.faults.nak_replies = 0
    assert ask(responder, "Q-sum16-RS")[3:5] == b"RS"


def test_a_silent_unit_obeys_and_a_frozen_one_does_not() -> None:
    """Neither answers; only where the controller hangs is the command lost, and the timers go on in both."""
    for fault, obeyed in (("silent", True), ("frozen", False)):
        responder = Responder(running())
        setattr(responder.faults, fault, True)
        assert ask(responder, "Q-sum16-CR 120/2") == b""
        assert responder.device.status().shutdown_active is obeyed
        setattr(responder.faults, fault, False)
        assert ask(responder, "Q-sum16-RS") != b""


def test_refusals_and_mismatches_can_be_ordered() -> None:
    """A NAK with the code that the test wants, and a GN reply to an RS request."""
    responder = Responder(running(), Faults(nak_replies=1, nak_code=NakCode.NO_REASON))
    assert ask(responder, "Q-sum16-RS")[3:5] == b"\x150"
    responder.faults.mismatch_replies = 1
    assert ask(responder, "Q-sum16-RS") == frame_of("R2")
