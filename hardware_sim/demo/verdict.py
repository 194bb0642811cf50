"""Did everybody go off in order before the power went? Computed from the machines, not from what the daemon says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_sim.machines import MachineState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hardware_sim.machines import SimulatedMachine
    from hardware_sim.rack import SimulatedRack


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement: one line for each thing that was looked at, and whether it was as it should be."""

    lines: tuple[tuple[bool, str], ...]

    @property
    def clean(self) -> bool:
        """Whether everything was as it should be."""
        return all(good for good, _ in self.lines)


def judge(rack: SimulatedRack, *, outlets_cut: bool, full_load_w: float) -> Verdict:
    """Look at every machine, the NAS's disks, the pods and the battery."""
    lines = [(outlets_cut, "the UPS cut its outlets, as it was told" if outlets_cut else "the outlets were never cut")]
    lines += [_machine_line(machine) for machine in rack.machines.values()]
    nas = rack.nas
    kept = f"the NAS acknowledged {nas.acknowledged} writes and lost {nas.lost}"
    lines.append((nas.lost == 0 and nas.acknowledged > 0, kept))
    lines.append(_pods_line(rack))
    left_s = rack.device.battery.seconds_until(
        rack.device.profile.battery_low_v * rack.device.battery.spec.blocks, rack.device.inverter.drain_w(full_load_w)
    )
    lines.append((left_s > 0, f"battery left: {left_s:.0f} s at the full load of {full_load_w:.0f} W"))
    return Verdict(tuple(lines))


def _machine_line(machine: SimulatedMachine) -> tuple[bool, str]:
    if machine.cuts:
        return False, f"{machine.name} lost its power while {machine.cuts[-1].value}"
    if machine.state is not MachineState.OFF:
        return False, f"{machine.name} is still {machine.state.value}"
    return True, f"{machine.name} was off before its power went"


def _pods_line(rack: SimulatedRack) -> tuple[bool, str]:
    left = sorted(pods_to_end(rack))
    if left:
        return False, f"pods still bound to nodes: {', '.join(left)}"
    return True, "every pod that a drain ends had ended, and nothing was rescheduled"


def pods_to_end(rack: SimulatedRack) -> Iterable[str]:
    """The pods on nodes that a drain ends: neither of DaemonSets, nor mirrors, nor finished."""
    for node in rack.kubernetes.cluster.store.items("nodes"):
        for pod in rack.kubernetes.cluster.pods_on(node["metadata"]["name"]):
            owners = [owner["kind"] for owner in pod["metadata"].get("ownerReferences", ())]
            mirror = "kubernetes.io/config.mirror" in pod["metadata"].get("annotations", {})
            finished = pod["status"].get("phase") in {"Succeeded", "Failed"}
            if "DaemonSet" not in owners and not mirror and not finished:
                yield f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
