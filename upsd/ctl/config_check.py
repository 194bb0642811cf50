"""`upsctl config check`: are the settings right, are they wise, and which plan would run? Without a daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from upsd.ctl.machine_check import absent
from upsd.settings import EXIT_CONFIG, SettingsError, load_settings
from upsd.settings_advice import advise
from upsd.shapes import battery_facts, rack_shape, supervisor_rules
from upsd.shutdown.budget import critical_path_s, describe
from upsd.shutdown.durations import learned
from upsd.shutdown.learner import DurationsError, load
from upsd.shutdown.plan import recovery_plan, shutdown_plan
from upsd.shutdown.shedding import describe as describe_shedding
from upsd.ups.battery.watch import full_runtime

if TYPE_CHECKING:
    from upsd.domain.plan import Plan
    from upsd.settings import Settings


def run(path: str) -> int:
    """Check the file, print what is wrong or the plan; the exit code."""
    try:
        settings = load_settings(Path(path), os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    for advice in advise(settings, file_mode=Path(path).stat().st_mode):
        print(f"{path}: warning: {advice}", file=sys.stderr)
    for sentence in absent(settings):
        print(f"{path}: not on this machine: {sentence}", file=sys.stderr)
    plan, recovery = _plans(settings)
    watts = sum(machine.watts for machine in settings.machines)
    runtime = full_runtime(battery_facts(settings, None), watts)
    usable_s = runtime.low_s - settings.battery.reserve - settings.shutdown.margin
    print(f"{path} is valid. This is the plan that would run:\n")
    print("\n".join(describe(plan)))
    print(
        f"\nA full battery carries {watts:.0f} W for {runtime.low_s / 60:.0f} to {runtime.high_s / 60:.0f} min by our"
        f" model; {max(0.0, usable_s) / 60:.0f} min of that\nmay be counted on, after the reserve and the margin."
    )
    wakes = [worker.name for worker in rack_shape(settings).workers if worker.wakes]
    if groups := supervisor_rules(settings).shedding:
        print("\nBefore it, so that the battery lasts longer for the rest (by a full battery):")
        print("\n".join(f"  {sentence}" for sentence in describe_shedding(groups, wakes, runtime.low_s)))
    print("\nAnd this is what would bring everything back:\n")
    print("\n".join(describe(recovery)))
    if critical_path_s(plan) > usable_s:
        print(f"{path}: warning: the plan does not fit this battery; see battery.* and the watts", file=sys.stderr)
    return 0


def _plans(settings: Settings) -> tuple[Plan, Plan]:
    """The shutdown and the recovery, with what the daemon has measured of their steps."""
    shape = rack_shape(settings)
    shutdown, recovery = shutdown_plan(shape), recovery_plan(shape)
    try:
        durations = load(settings.state_directory)
    except DurationsError as error:
        print(f"warning: {error}", file=sys.stderr)
        return shutdown, recovery
    return learned(shutdown, durations), learned(recovery, durations)
