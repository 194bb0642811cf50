"""What a user would have lost in a simulated outage that upsd could have saved: the violations.

Each check knows the truth of the world. It excuses what nobody could have helped: a machine that takes no command, a
UPS that says nothing, a battery that is worse than the settings promise, and outages too short for the forced plan.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hardware_sim.memory_cluster import MARK
from hardware_sim.outages.best import most_saved
from hardware_sim.outages.checks_kept import kept_violations
from hardware_sim.outages.machine import MachineState
from hardware_sim.outages.process import DEBOUNCE_S, rack_shape
from hardware_sim.outages.scenario import MASTER, NAS
from hardware_sim.outages.world import NODE_GRACE_S
from hardware_sim.ups.outlets import OffCause
from upsd.domain.plan import StepKind
from upsd.shutdown.budget import critical_path_s
from upsd.shutdown.off_signs import USUAL_TIMES
from upsd.shutdown.plan import shutdown_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware_sim.outages.run import Life, Run
    from hardware_sim.outages.world import LateWrite, Loss

_TAKES_NOTICE_S = 15.0
"""Within this a cause still counts: polls, the debounce, and a reading on its way."""
_SPARE_S = 30.0
_WRITES_S = 5.0
"""What the journal, and the seconds between two looks at the battery, may cost a plan."""
_COMMAND_FAULT_S = 2.0
_FAULTS_LINGER_S = 60.0
_GIVES_UP_S = 8.0
"""So long before its deadline a step may give up a machine, or have no time to see that it is off."""
_BEFORE_THE_NAS = {StepKind.ANNOUNCE, StepKind.CORDON, StepKind.DRAIN}


def violations(run: Run) -> list[str]:
    """What went wrong, in words; empty if nothing did."""
    return [
        *_dirty(run),
        *_written_late(run),
        *_late(run),
        *_worse_than_possible(run),
        *_without_cause(run),
        *_left_behind(run),
        *_foreign_cordons(run),
        *kept_violations(run),
        *(f"the journal did not say beforehand: {act}" for act in dict.fromkeys(run.unexplained)),
        *(f"defect: {defect}" for defect in run.defects),
    ]


def _dirty(run: Run) -> Iterator[str]:
    """No machine lost power with a dirty file system unless physics left no choice."""
    for loss in run.world.losses:
        if loss.machine == NAS and loss.flushed and not run.scenario.nas_goes_off:
            continue
        if loss.state is not MachineState.ON and loss.why is OffCause.RUN_OUT:
            continue  # it was on its way, or just booting
        if _deaf(run, loss) or (loss.why is OffCause.RUN_OUT and _too_short(run, loss)):
            continue
        yield f"{loss.machine} was {loss.state.value} when its power went at {loss.at:.0f} s ({loss.why.value})"


def _written_late(run: Run) -> Iterator[str]:
    """Nothing is written to the NAS once it is flushed, if there was the time to wait for it."""
    for write in run.world.late_writes:
        name = write.machine
        waited = f"event step_started {{'step': 'confirm-off {name}'"
        began = [act.at for act in run.world.acts if act.at < write.at and act.what.startswith(waited)]
        # Whoever takes it up again after a kill goes by what it knows of the battery itself.
        lives = [life for life in run.lives if began and life.start <= write.at and life.end >= began[-1]]
        if not lives or _not_followed(run, write, began[-1]):
            continue
        left_s = min(_could_wait_until(run, life, write, began[-1]) for life in lives) - write.at
        if left_s > 0:
            yield f"{name} wrote to the NAS after its flush, at {write.at:.0f} s; it could wait {left_s:.0f} s longer"


def _not_followed(run: Run, write: LateWrite, began: float) -> bool:
    """Whether a machine could not be told to go off, or not be seen going off."""
    name, spec = write.machine, run.world.machines[write.machine].spec
    hindered = any(
        fault.part == name and fault.at < write.at and fault.at + fault.for_s > began - _FAULTS_LINGER_S
        for fault in run.scenario.faults
    )
    died = any(victim == name and at <= write.at for at, victim in run.scenario.deaths)
    return hindered or died or _came_late(run, name, began, write.at) or bool(spec.deaf) or spec.reboots


def _could_wait_until(run: Run, life: Life, write: LateWrite, began: float) -> float:
    """Until when a machine could be waited for, by the settings, the battery, and what Kubernetes says of its node."""
    plan, spec = shutdown_plan(rack_shape(run.scenario)), run.world.machines[write.machine].spec
    workers = {worker.name for worker in run.scenario.workers}
    before = [step.id for step in plan.steps if step.kind in _BEFORE_THE_NAS or step.target in workers]
    ends = [promise.battery_end_at for promise in life.promises.values()]
    if math.isinf(life.fell_s):
        return -math.inf  # the mains came and went meanwhile, and how little there was at the least is not kept
    latest = min(ends, default=-math.inf) - life.fell_s - critical_path_s(plan, forced=True, ended=before)
    stopping = f"{spec.name} {MachineState.STOPPING.value}"
    stopped = max(act.at for act in run.world.acts if act.what == stopping and act.at <= write.at)
    node_gone = stopped + max(NODE_GRACE_S, USUAL_TIMES * spec.told_poweroff_s)
    limit_s = next(step.limit_s for step in plan.steps if step.id == f"confirm-off {spec.name}")
    return min(min(began + limit_s, latest) - _GIVES_UP_S, node_gone)


def _deaf(run: Run, loss: Loss) -> bool:
    """Whether it could not be powered off, or not have anything written; a mount that hangs here is no excuse."""
    scenario, name = run.scenario, loss.machine
    spec = run.world.machines[name].spec
    parts = {MASTER: {"local_host"}, NAS: {"storage"}}.get(name, {name})
    began = _shutdown_began(run, loss)
    hindered = any(
        fault.part in parts
        and fault.operation not in {"call_port", "unmount", "detach"}
        and fault.at < loss.at
        and fault.at + fault.for_s > began
        for fault in scenario.faults
    )
    died = any(victim == name and at <= loss.at for at, victim in scenario.deaths)
    return hindered or died or _came_late(run, name, began, loss.at) or bool(spec.deaf) or spec.reboots


def _came_late(run: Run, name: str, began: float, until: float) -> bool:
    """Whether it came up when nobody had the time to look at it again."""
    looks = (f"event step_ended {{'step': 'confirm-off {name}'", "event step_started {'step': 'last-look'")
    since = [act for act in run.world.acts if began < act.at < until]
    looked_at = max((act.at for act in since if act.what.startswith(looks)), default=began)
    return any(act.what == f"{name} on" and act.at > looked_at for act in since)


def _shutdown_began(run: Run, loss: Loss) -> float:
    """When the shutdown began in which the power went, or was taken up again; then, if none did.

    One that is taken up again counts if it asked the machine anew: where its own steps are over that is the last look,
    for which there may be no time, and once the outlets were about to be cycled there is none.
    """
    since = _cut_before(run, loss.at) if loss.why is OffCause.RUN_OUT else 0.0
    life = next((life for life in reversed(run.lives) if life.start < loss.at), None)
    if life and life.powered_off and life.end < loss.at:
        since = min(since, life.start)  # nobody has been there since that one powered its machine off
    asks = tuple(
        f"event step_started {{'step': '{step}'"
        for step in (f"poweroff {loss.machine}", f"confirm-off {loss.machine}", "last-look")
    )
    began = resumed = loss.at
    for act in run.world.acts:
        if not since <= act.at <= loss.at:
            continue
        if act.what.startswith("event shutdown_started"):
            began = resumed = act.at
        elif act.what.startswith("event shutdown_resumed"):
            resumed = act.at
        elif act.what.startswith(asks):
            began = resumed
    return began - _COMMAND_FAULT_S


def _too_short(run: Run, loss: Loss) -> bool:
    """Whether the daemon had not the time that the forced plan takes, or could not know how little it had."""
    if run.scenario.battery_is_worse_than_told:
        return True
    machines = run.scenario.machines
    forced_s = critical_path_s(shutdown_plan(rack_shape(run.scenario)), forced=True)
    need_s = forced_s + max(machine.poweroff_s for machine in machines) + DEBOUNCE_S + _SPARE_S
    cut_at = _cut_before(run, loss.at)
    had_s = sum(max(0.0, min(end, loss.at) - max(start, cut_at)) for start, end in _in_control(run))
    return had_s < need_s


def _cut_before(run: Run, moment: float) -> float:
    """When the mains last went before a moment."""
    return max((supply.at for supply in run.scenario.supply if supply.volts == 0 and supply.at <= moment), default=0.0)


def _in_control(run: Run) -> Iterator[tuple[float, float]]:
    """When a daemon ran and heard the UPS, or had powered its machine off because it wanted to."""
    silences = sorted((silence.at, silence.at + silence.for_s) for silence in run.scenario.silences if not silence.lie)
    boots = [act.at for act in run.world.acts if act.what == f"{MASTER} {MachineState.BOOTING.value}"]
    for life in run.lives:
        start = life.start
        for begins, ends in silences:
            if begins < life.end and ends > start:
                yield start, max(start, begins)
                start = min(life.end, ends)
        yield start, min((at for at in boots if at > life.end), default=math.inf) if life.powered_off else life.end


def _late(run: Run) -> Iterator[str]:
    """If the forced plan fits at the start, and the estimate does not fall, the last step has its time."""
    forced_s = critical_path_s(shutdown_plan(rack_shape(run.scenario)), forced=True)
    for life in run.lives:
        began, last = life.promises.get("shutdown"), life.promises.get("last step")
        if began is None or last is None or last.at < began.at or math.isinf(last.battery_end_at):
            continue
        fitted = began.at + forced_s + _WRITES_S <= began.battery_end_at and last.fell_s <= 1.0
        over_s = last.at + run.scenario.master.told_poweroff_s - last.battery_end_at
        if fitted and over_s > _WRITES_S:
            yield f"the last step began {over_s:.0f} s too late, at {last.at:.0f} s"


def _worse_than_possible(run: Run) -> Iterator[str]:
    """Where not everything could be saved, as much was as by any other choice, if the battery was known."""
    for life in run.lives:
        began = life.promises.get("shutdown")
        if began is None or math.isinf(began.battery_end_at):
            continue
        lost = [loss for loss in run.world.losses if loss.at > began.at]
        ran_out_at = lost[0].at if lost and lost[0].why is OffCause.RUN_OUT else None
        if ran_out_at is None or began.battery_end_at + run.scenario.reserve_s > ran_out_at:
            continue
        if _cut_before(run, ran_out_at) > began.at or (life.end < ran_out_at and not life.powered_off):
            continue
        dirty = [loss for loss in lost if loss.at == ran_out_at and not _deaf(run, loss)]
        dirty = [loss for loss in dirty if loss.machine != NAS or run.scenario.nas_goes_off or not loss.flushed]
        best = most_saved(run.scenario, ran_out_at - began.at - _WRITES_S)
        if len(run.scenario.machines) - len(dirty) < best:
            names = ", ".join(loss.machine for loss in dirty)
            yield f"{names} lost at {ran_out_at:.0f} s, though {best} of {len(run.scenario.machines)} could be saved"


def _without_cause(run: Run) -> Iterator[str]:
    """No shutdown without a real cause."""
    for act in run.world.acts:
        if not act.what.startswith("event shutdown_started"):
            continue
        causes = (_away_lately, _chatters_while_low, _away_when_last_heard, _away_after_a_wrong_reading)
        if not any(cause(run, act.at) for cause in causes):
            yield f"a shutdown at {act.at:.0f} s without a cause"


def _away_when_last_heard(run: Run, now: float) -> bool:
    """Whether the UPS is silent, and said last that the mains is away: it can't take that back."""
    for silence in run.scenario.silences:
        if silence.lie or not silence.at <= now <= silence.at + silence.for_s + _TAKES_NOTICE_S:
            continue
        ups_s = 2 * run.scenario.poll_s
        volts = 230.0
        for supply in run.scenario.supply:
            if supply.at > silence.at:
                break
            if supply.at > silence.at - ups_s and 0.0 in {volts, supply.volts}:
                return True
            volts = supply.volts
        if volts == 0:
            return True
    return False


def _away_after_a_wrong_reading(run: Run, now: float) -> bool:
    """Whether the mains is away, and the reading before the one that says so was wrong: two in a row are believed."""
    before = [supply.volts for supply in run.scenario.supply if supply.at <= now]
    lied = any(s.lie and now - 2 * run.scenario.poll_s < s.at <= now for s in run.scenario.silences)
    return lied and before[-1:] == [0.0]


def _chatters_while_low(run: Run, now: float) -> bool:
    """Whether the battery is low, and the mains came back only for moments since it went."""
    low = any(act.what.startswith("event battery_low") and now - 1.0 <= act.at <= now for act in run.world.acts)
    return low and _away_lately(run, now, moment_s=DEBOUNCE_S + run.scenario.poll_s)


def _away_lately(run: Run, now: float, moment_s: float = 0.0) -> bool:
    """Whether the mains was away for longer than a flicker, as far as readings show: between two, nobody looks.

    Nor does mains count that was there for a `moment_s` only.
    """
    moment_s = max(moment_s, run.scenario.poll_s)
    window = now - _TAKES_NOTICE_S - max((s.for_s for s in run.scenario.silences if s.at <= now), default=0.0)
    absences: list[tuple[float, float]] = []
    for supply in run.scenario.supply:
        if supply.at > now:
            break
        if supply.volts:
            absences[-1] = absences[-1][0], supply.at
        elif absences and supply.at - absences[-1][1] <= moment_s:
            absences[-1] = absences[-1][0], now
        else:
            absences.append((supply.at, now))
    return any(until > window and until - since >= DEBOUNCE_S - 1.0 for since, until in absences)


def _left_behind(run: Run) -> Iterator[str]:
    """Nothing stays off, cordoned, unmounted or not started once the mains is back and the battery charged."""
    world = run.world
    if run.quiet:
        anywhere = len(run.scenario.cordoned) < len(world.cluster.node_by_name) and not run.scenario.deaths
        if anywhere and run.pods_after != world.pods_before:
            yield f"of {dict(world.pods_before)} pods only {dict(run.pods_after)} came back"
        return
    excused = any(fault.part in {"outlets", "local_host"} for fault in run.scenario.faults)
    for machine in world.machines.values():
        dead = any(name == machine.spec.name for _, name in run.scenario.deaths)
        if machine.state is not MachineState.ON and not excused and not dead:
            yield f"{machine.spec.name} stayed {machine.state.value}"
    if world.master.state is not MachineState.ON:
        return
    for node in world.cluster.node_by_name.values():
        if MARK in node.annotations:
            yield f"{node.name} stayed cordoned"
    if not world.storage.mounted and world.nas.answers:
        yield "the NAS stayed unmounted"
    if run.phase not in {"idle", None}:
        yield f"the daemon still was {run.phase}"


def _foreign_cordons(run: Run) -> Iterator[str]:
    """What an administrator had cordoned stays cordoned."""
    for name in run.scenario.cordoned:
        node = run.world.cluster.node_by_name[name]
        if not node.unschedulable or f"uncordon {name}" in [act.what for act in run.world.acts]:
            yield f"{name}, which an administrator had cordoned, was uncordoned"
