"""Which of the things that are plugged in is our UPS, and which are left alone."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from tests.identities import IPLUG
from upsd.ups.errors import Fault, UpsError
from upsd.ups.selection import Known, Selection, Wanted, ambiguous
from upsd.ups.transport import Place

OURS, OTHER = Place("1-4", 7), Place("1-5", 8)
SILENT = UpsError(Fault.NO_REPLY, "the UPS does not answer")


def paths(places: list[Place]) -> list[str]:
    """Where they are."""
    return [place.path for place in places]


@pytest.fixture
def ours() -> Selection:
    """A unit at 1-4 that is ours, with something else plugged in at 1-5."""
    selection = Selection(Wanted())
    selection.took(OURS, IPLUG, [OURS, OTHER])
    return selection


def test_a_single_device_is_asked() -> None:
    """Most machines have one."""
    selection = Selection(Wanted())
    assert selection.worth_asking([OURS], 0.0) == [OURS]
    assert not selection.must_compare([OURS])


def test_of_several_unknown_ones_all_must_be_asked_first() -> None:
    """To take the first that answers could be to guard another rack's UPS."""
    selection = Selection(Wanted())
    assert selection.must_compare(selection.worth_asking([OTHER, OURS], 0.0))


@pytest.mark.parametrize("wanted", [Wanted(path="1-4"), Wanted(serial="A1")], ids=["path", "serial"])
def test_a_setting_that_tells_them_apart_needs_no_comparing(wanted: Wanted) -> None:
    """The place or the serial number says which it is."""
    assert not Selection(wanted).must_compare([OURS, OTHER])


def test_the_model_alone_does_not_tell_two_of_a_kind_apart() -> None:
    """They are compared."""
    assert Selection(Wanted(model="USV5")).must_compare([OURS, OTHER])


def test_only_the_place_in_the_settings_is_asked() -> None:
    """What is plugged in elsewhere is not even spoken to."""
    assert Selection(Wanted(path="1-5")).worth_asking([OURS, OTHER], 0.0) == [OTHER]


def test_what_does_not_answer_is_asked_ever_more_rarely() -> None:
    """A modem behind the same USB id is not disturbed twice a second for ever."""
    selection, now, asked = Selection(Wanted()), 0.0, []
    while now < 120.0:
        if selection.worth_asking([OTHER], now):
            asked.append(now)
            selection.failed(OTHER, now, SILENT)
        now += 0.25
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert pauses[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert set(pauses[5:]) == {30.0}


def test_what_is_plugged_in_anew_is_asked_at_once() -> None:
    """It may be another one."""
    selection = Selection(Wanted())
    for now in range(10):
        selection.failed(OTHER, float(now), SILENT)
    assert selection.worth_asking([OTHER], 10.0) == []
    assert selection.worth_asking([replace(OTHER, plugged=9)], 10.0) == [replace(OTHER, plugged=9)]


def test_why_nobody_is_asked_is_what_the_stranger_did() -> None:
    """Between two attempts the reason stays on the screen."""
    selection = Selection(Wanted())
    selection.failed(OTHER, 0.0, SILENT)
    assert selection.absence([OTHER]) is SILENT


def test_ours_is_asked_again_and_again(ours: Selection) -> None:
    """However often it failed: the rack hangs on it."""
    for now in range(100):
        assert paths(ours.worth_asking([OURS, OTHER], float(now))) == ["1-4"]
        ours.failed(OURS, float(now), SILENT)


def test_what_stood_beside_ours_never_takes_its_place(ours: Selection) -> None:
    """Also when ours is pulled out, and also when the other one is plugged in anew."""
    ours.lost([OTHER])
    assert ours.worth_asking([OTHER], 0.0) == []
    assert ours.worth_asking([replace(OTHER, plugged=99)], 100.0) == []
    assert "1-5" in str(ours.absence([OTHER]))


def test_ours_is_found_again_at_another_port(ours: Selection) -> None:
    """Where nothing stood before, and the same unit answers."""
    ours.lost([OTHER])
    moved = Place("1-6", 9)
    assert ours.worth_asking([OTHER, moved], 0.0) == [moved]
    ours.check(moved, IPLUG)
    assert ours.took(moved, IPLUG, [OTHER, moved]).path == "1-6"
    assert ours.worth_asking([OTHER, moved], 1.0) == [moved]


def test_another_unit_at_another_port_is_refused(ours: Selection) -> None:
    """The message says what to do if it was meant."""
    with pytest.raises(UpsError, match=r'ups\.port = "usb:1-6"') as caught:
        ours.check(Place("1-6", 9), replace(IPLUG, model="UNV1"))
    assert caught.value.fault is Fault.ANOTHER_UNIT


def test_a_new_unit_at_the_old_place_is_taken(ours: Selection) -> None:
    """The UPS was exchanged, the cable was not."""
    ours.check(OURS, replace(IPLUG, model="UNV1"))


@pytest.mark.parametrize("wanted", [Wanted(serial="A1"), Wanted(model="UNV1")], ids=["serial", "model"])
def test_a_unit_that_the_settings_do_not_name_is_refused(wanted: Wanted) -> None:
    """Even when it is the only one."""
    with pytest.raises(UpsError, match=r"ups\.serial and ups\.model"):
        Selection(wanted).check(OURS, IPLUG)


def test_a_serial_number_finds_the_unit_wherever_it_stands() -> None:
    """Also where something else stood before."""
    selection = Selection(Wanted(serial="A1"))
    unit = replace(IPLUG, serial="A1")
    selection.took(OURS, unit, [OURS, OTHER])
    selection.lost([OTHER])
    assert selection.worth_asking([OTHER], 0.0) == [OTHER]
    with pytest.raises(UpsError):
        selection.check(OTHER, replace(IPLUG, serial="B2"))


def test_what_was_ours_before_a_restart_is_asked_and_no_other() -> None:
    """Also if it hangs: one that is like it may feed another rack."""
    selection = Selection(Wanted(), Known("1-5", "USV5", None))
    assert paths(selection.worth_asking([OURS, OTHER], 0.0)) == ["1-5"]
    assert not selection.must_compare([OTHER])


def test_what_was_ours_before_a_restart_is_sought_when_it_is_not_plugged_in_there() -> None:
    """It may have been moved while nobody looked."""
    selection = Selection(Wanted(), Known("1-5", "USV5", None))
    assert selection.worth_asking([OURS], 0.0) == [OURS]
    selection.check(OURS, IPLUG)
    with pytest.raises(UpsError, match="ours was another one at 1-5"):
        selection.check(OURS, replace(IPLUG, model="UNV1"))


def test_two_that_answer_are_named_with_the_setting_that_decides() -> None:
    """A person reads which lines to write."""
    error = ambiguous({"1-5": IPLUG, "1-4": replace(IPLUG, serial="A1")})
    assert str(error) == (
        '2 UPSes answer (USV5 with serial number A1 at 1-4, USV5 at 1-5); set ups.port to "usb:1-4" or "usb:1-5"'
    )
