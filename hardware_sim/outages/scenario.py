"""What happens in one simulated outage, drawn from a seed: the rack, its battery, the supply, and what goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hardware_sim.outages.fault import Fault
from hardware_sim.outages.kept import Kept, draw_kept
from hardware_sim.ups.battery import Battery, BatterySpec, Inverter

if TYPE_CHECKING:
    from hardware_sim.outages.fault import Kind

MASTER = "k3s-master"
NAS = "nas"
LONGEST_S = 4 * 3600.0
"""For how long something may be out of order."""

_WORKERS = ("pi4-a", "pi4-b", "pi3", "bananapi")
_OPERATIONS = {
    "cluster": ("*", "nodes", "cordon", "uncordon", "pods", "evict", "delete"),
    "storage": ("flush", "unmount", "mount", "is_mounted"),
    "outlets": ("cycle",),
    "host": ("run", "call_port"),
    "local_host": ("poweroff",),
}
_EMPTY_V = 10.5
_PERIODS_S = (3.0, 12.0, 60.0, 400.0, LONGEST_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """A machine: what it draws, how long it takes to start and to go off, and what the settings say of that (s).

    `deaf` is how many power-off commands it takes without doing anything; one that `reboots` starts again by itself.
    """

    name: str
    watts: float
    boot_s: float
    poweroff_s: float
    told_poweroff_s: float
    deaf: int = 0
    reboots: bool = False


@dataclass(frozen=True, slots=True)
class Supply:
    """At a time, the mains voltage becomes this."""

    at: float
    volts: float


@dataclass(frozen=True, slots=True)
class Crash:
    """The daemon is killed at a time, or when it has asked the world so often in this boot; and is started again."""

    at: float | None
    asked: int | None
    restart_s: float


@dataclass(frozen=True, slots=True)
class Silence:
    """The UPS says nothing for a while, or, for a `lie`, the opposite of what is so, once."""

    at: float
    for_s: float
    lie: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that is settled before the outage begins; times in seconds from the start."""

    seed: int
    master: MachineSpec
    workers: tuple[MachineSpec, ...]
    nas: MachineSpec
    nas_goes_off: bool
    other_watts: float
    battery: BatterySpec
    charge: float
    told_ah: float
    told_health: float
    told_efficiency: float
    told_idle_w: float
    poll_s: float
    on_battery_s: float | None
    margin_s: float
    reserve_s: float
    drain_limit_s: float
    supply: tuple[Supply, ...]
    faults: tuple[Fault, ...]
    deaths: tuple[tuple[float, str], ...]
    crashes: tuple[Crash, ...]
    silences: tuple[Silence, ...]
    cordoned: tuple[str, ...]
    stubborn: tuple[str, ...]
    pods: int
    pod_stop_s: float
    told_drain_s: float
    clock_steps: tuple[tuple[float, float], ...]
    test_at: float | None
    battery_limit_s: float
    kept: Kept

    @property
    def machines(self) -> tuple[MachineSpec, ...]:
        """All that is on the outlets, the switch apart."""
        return (self.master, *self.workers, self.nas)

    @property
    def battery_is_worse_than_told(self) -> bool:
        """Whether the settings promise more than is there."""
        return self.battery.capacity_ah * self.battery.health < self.told_ah * self.told_health

    @property
    def last_event_s(self) -> float:
        """When the last thing is scripted."""
        return max([0.0, *(supply.at for supply in self.supply), *(silence.at for silence in self.silences)])


def draw(seed: int) -> Scenario:
    """The scenario of a seed; the same on every machine."""
    chance = random.Random(seed)  # no secret hangs on it
    workers = tuple(_machine(chance, name, chance.uniform(3, 15)) for name in _WORKERS[: chance.randint(0, 4)])
    health = chance.uniform(0.5, 1.0)
    spec = BatterySpec(capacity_ah=chance.choice([4.5, 7.0, 7.0, 9.0]), health=health)
    master, nas = _machine(chance, MASTER, chance.uniform(15, 40)), _machine(chance, NAS, chance.uniform(10, 25))
    load_w = sum(machine.watts for machine in (master, *workers, nas)) + (
        other_w := chance.choice([8.0, 8.0, 60.0, 150.0])
    )
    lasts_s = Battery(spec).seconds_until(_EMPTY_V, Inverter().drain_w(load_w), step_s=10.0)
    honest = chance.random() < 0.85
    supply = _supply(chance, lasts_s)
    calm = chance.random() < 0.3
    nodes = [*(worker.name for worker in workers), MASTER]
    pods = chance.randint(0, 3)
    kept = draw_kept(
        seed,
        [change.at for change in supply if change.volts == 0.0],
        [f"web/{node}-{number}" for node in nodes for number in range(pods)],
    )
    scenario = Scenario(
        seed=seed,
        master=master,
        workers=workers if calm else tuple(_odd(chance, worker) for worker in workers),
        nas=nas,
        nas_goes_off=chance.random() < 0.5,
        other_watts=other_w,
        battery=spec,
        charge=chance.choice([1.0, 1.0, 1.0, chance.uniform(0.3, 1.0)]),
        told_ah=spec.capacity_ah,
        told_health=health * (chance.uniform(0.85, 1.0) if honest else chance.uniform(1.1, 1.6)),
        told_efficiency=chance.uniform(0.8, 0.85),
        told_idle_w=chance.uniform(6.0, 10.0),
        poll_s=chance.choice([1.0, 3.0, 5.0]),
        on_battery_s=chance.choice([None, None, None, chance.uniform(5, 120)]),
        margin_s=chance.choice([15.0, 60.0]),
        reserve_s=chance.choice([10.0, 30.0, 60.0]),
        drain_limit_s=chance.choice([60.0, 180.0, 600.0]),
        supply=supply,
        faults=() if calm else tuple(_fault(chance, supply, workers) for _ in range(chance.choice([0, 1, 1, 2, 3]))),
        deaths=tuple(
            (_moment(chance, supply), worker.name) for worker in workers if not calm and chance.random() < 0.03
        ),
        crashes=tuple(_crash(chance, supply) for _ in range(chance.choice([0, 0, 1, 1, 2, 3]))),
        silences=() if calm else tuple(_silence(chance, supply) for _ in range(chance.choice([0, 0, 1, 2]))),
        cordoned=tuple(node for node in nodes if chance.random() < 0.15),
        stubborn=tuple(f"web/{node}-0" for node in nodes if pods and not calm and chance.random() < 0.25),
        pods=pods,
        pod_stop_s=chance.choice([chance.uniform(0.5, 12.0), chance.uniform(0.5, 12.0), chance.uniform(30, 300)]),
        told_drain_s=chance.uniform(5, 40),
        clock_steps=tuple(
            (_moment(chance, supply), chance.uniform(-86400, 86400)) for _ in range(chance.randint(0, 2))
        ),
        test_at=chance.choice([None, None, None, 20.0]),
        battery_limit_s=chance.choice([300.0, 900.0, 3600.0]),
        kept=kept,
    )
    return replace(scenario, workers=tuple(_slow(chance, worker) for worker in scenario.workers))


def _machine(chance: random.Random, name: str, watts: float) -> MachineSpec:
    poweroff_s = chance.uniform(3, 25)
    return MachineSpec(
        name=name,
        watts=watts,
        boot_s=chance.uniform(20, 90),
        poweroff_s=poweroff_s,
        told_poweroff_s=max(5.0, poweroff_s * chance.uniform(1.0, 1.6)),
    )


def _slow(chance: random.Random, spec: MachineSpec) -> MachineSpec:
    """Now and then a machine that takes longer to unmount than anybody has told, with its sshd gone from the start."""
    if chance.random() > 0.15:
        return spec
    poweroff_s = chance.uniform(25, 60)
    return replace(spec, poweroff_s=poweroff_s, told_poweroff_s=poweroff_s / chance.uniform(1.0, 2.9))


def _odd(chance: random.Random, spec: MachineSpec) -> MachineSpec:
    oddity = chance.random()
    if oddity > 0.12:
        return spec
    return MachineSpec(
        name=spec.name,
        watts=spec.watts,
        boot_s=spec.boot_s,
        poweroff_s=spec.poweroff_s,
        told_poweroff_s=spec.told_poweroff_s,
        deaf=chance.choice([1, 99]) if oddity < 0.08 else 0,
        reboots=oddity >= 0.08,
    )


def _supply(chance: random.Random, lasts_s: float) -> tuple[Supply, ...]:
    """The mains goes at least once, for moments and for longer than the battery lasts, and stays in the end."""
    at, script = chance.uniform(30, 60), list[Supply]()
    for _ in range(chance.choice([1, 1, 1, 2, 2, 3])):
        for _ in range(chance.choice([0, 0, 1, 2])):
            script += [Supply(at, 0.0), Supply(at + chance.uniform(0.1, 2.5), 230.0)]
            at = script[-1].at + chance.uniform(1, 30)
        script.append(Supply(at, 0.0))
        at += chance.choice([1.0, lasts_s, 2.0 * lasts_s]) * chance.uniform(0, 1) + chance.uniform(1, 60)
        script.append(Supply(at, 230.0))
        at += chance.choice([chance.uniform(1, 60), chance.uniform(30, 300), chance.uniform(300, 1500)])
    return tuple(script)


def _moment(chance: random.Random, supply: tuple[Supply, ...]) -> float:
    """A time at which something is going on."""
    return chance.choice(supply).at + chance.choice(
        [chance.uniform(-5, 10), chance.uniform(0, 120), chance.uniform(0, 900)]
    )


def _fault(chance: random.Random, supply: tuple[Supply, ...], workers: tuple[MachineSpec, ...]) -> Fault:
    part = chance.choice(["cluster", "cluster", "storage", "outlets", "local_host", *(["host"] * 3 if workers else [])])
    operation = chance.choice(_OPERATIONS[part])
    name = chance.choice(workers).name if part == "host" else part
    kind: Kind = chance.choice(["fail", "hang", "slow"])
    return Fault(_moment(chance, supply), name, operation, kind, chance.choice(_PERIODS_S))


def _crash(chance: random.Random, supply: tuple[Supply, ...]) -> Crash:
    restart_s = chance.choice([1.0, 5.0, chance.uniform(1, 60)])
    if chance.random() < 0.5:
        return Crash(_moment(chance, supply), None, restart_s)
    return Crash(None, chance.randint(1, 120), restart_s)


def _silence(chance: random.Random, supply: tuple[Supply, ...]) -> Silence:
    lie = chance.random() < 0.4
    return Silence(_moment(chance, supply), 0.0 if lie else chance.choice([3.0, 30.0, 300.0, 3000.0]), lie)
