"""When the battery is good enough to start everything again: computed from the plans, not guessed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.plans import RACK
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.floor import AMPLE, BatteryLevel, floor_s
from upsd.shutdown.plan import RackShape, RecoveryShape, recovery_plan, shutdown_plan


def floor_of(rack: RackShape, *, margin_s: float = 60.0, reserve_s: float = 30.0) -> float:
    """The floor of a rack."""
    return floor_s(recovery_plan(rack), shutdown_plan(rack), margin_s=margin_s, reserve_s=reserve_s)


def test_the_floor_is_a_boot_and_a_shutdown_and_what_is_always_kept() -> None:
    """NAS 30, workers 60, nodes 30, uncordon 3, pods 30; then the shutdown, the margin and the reserve."""
    boot_s = 30 + 60 + 30 + 3 + 30
    assert floor_of(RACK) == boot_s + critical_path_s(shutdown_plan(RACK)) + 60 + 30


@given(st.floats(1, 3600), st.floats(0, 600))
def test_slower_machines_raise_the_floor(boot_s: float, more_s: float) -> None:
    """And what the wait for the battery itself may take does not."""
    slow = replace(RACK, recovery=RecoveryShape(boot_s=boot_s, boot_limit_s=9000, battery_limit_s=99))
    slower = replace(RACK, recovery=RecoveryShape(boot_s=boot_s + more_s, boot_limit_s=9000, battery_limit_s=9e9))
    assert abs(floor_of(slower) - floor_of(slow) - more_s) < 0.001


def test_a_battery_that_just_carries_it_is_enough() -> None:
    """At the floor a boot may begin, below it not."""
    assert BatteryLevel(low_s=300.0, floor_s=300.0, full=False).enough
    assert not BatteryLevel(low_s=299.9, floor_s=300.0, full=True).enough
    assert AMPLE.enough
