"""What can be done to a simulated UPS: one table, which HTTP, scenarios, the command's help and the README follow."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

from hardware_sim.ups.arguments import Argument, Kind, written
from hardware_sim.ups.battery import Battery
from hardware_sim.ups.device import Conditions
from hardware_sim.ups.faults import UNTIL_SET_BACK
from hardware_sim.ups.frames import NakCode
from hardware_sim.ups.reports import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hardware_sim.ups.rig import Rig


class UnknownActionError(Exception):
    """There is no such action; the message names those that there are."""


class ArgumentError(Exception):
    """An argument that the action can't take; the message says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something to do; `do` is called with the rig and the values by their names."""

    name: str
    help: str
    do: Callable[..., None]
    arguments: tuple[Argument, ...] = ()
    usage: str = ""
    """How the arguments are written, where there are too many to name them."""
    one_of: bool = False
    """Whether at least one argument must be given, although each may be left out."""
    usb: bool = False
    """Whether it happens in the USB bridge, which a serial port does not have."""


@dataclass(frozen=True, slots=True)
class Deed:
    """An action with its values, found to be right."""

    action: Action
    values: Mapping[str, bool | int | float | None]

    def __str__(self) -> str:
        """As in "brown-out volts=180"."""
        values = (f"{name}={written(value)}" for name, value in self.values.items())
        return " ".join((self.action.name, *values))

    def hindrance(self, rig: Rig) -> str | None:
        """Why it would do nothing here, and what to do about that; `None` if it would."""
        if not self.action.usb or rig.usb:
            return None
        return f"{self.action.name} is for USB, and this UPS is on no USB cable; start it with --usbip or --socket"

    def do(self, rig: Rig, now: float) -> None:
        """Do it, at this time."""
        rig.device.advance(now)
        self.action.do(rig, **self.values)


def deed_of(name: str, given: Mapping[str, object]) -> Deed:
    """The action of this name with these arguments.

    Raises:
        UnknownActionError: there is none.
        ArgumentError: it takes others.
    """
    action = ACTIONS.get(name)
    if action is None:
        raise UnknownActionError(f"there is no action {name!r}; there are {', '.join(ACTIONS)}")
    taken = {argument.name: argument for argument in action.arguments}
    for stray in sorted(given.keys() - taken.keys()):
        raise ArgumentError(f"{name} takes {_listed(action)}; not {stray!r}")
    if any(argument.needed and argument.name not in given for argument in action.arguments):
        raise ArgumentError(f"{name} needs {_listed(action)}")
    if action.one_of and not given:
        raise ArgumentError(f"{name} needs at least one of {_listed(action)}")
    return Deed(action, {key: _read(name, taken[key], value) for key, value in given.items()})


def usage_of(action: Action) -> str:
    """Its arguments, as in "volts=0..500 [hertz=0..100]"."""
    return action.usage or " ".join(argument.usage for argument in action.arguments)


def markdown_table() -> str:
    """All actions as a table for a document."""
    rows = [f"| `{action.name}` | {_cell(action)} | {action.help} |" for action in ACTIONS.values()]
    return "\n".join(("| action | arguments | what it does |", "|---|---|---|", *rows))


def _cell(action: Action) -> str:
    """The arguments, with their names where the usage leaves them out; an upright bar would end the cell."""
    usage = f"`{usage_of(action)}`".replace("|", "\\|") if action.arguments else ""
    names = ", ".join(f"`{argument.name}`" for argument in action.arguments)
    return f"{usage}, of {names}" if action.usage else usage


def _listed(action: Action) -> str:
    if not action.arguments:
        return "no arguments"
    if action.usage:
        return ", ".join(argument.name for argument in action.arguments)
    return "; ".join(
        f"{argument.name}{'' if argument.needed or action.one_of else ' (optional)'}, {argument.limits}"
        for argument in action.arguments
    )


def _read(name: str, argument: Argument, given: object) -> bool | int | float | None:
    try:
        return argument.read(given)
    except ValueError:
        raise ArgumentError(f"{name}: {argument.name} is {argument.limits}, not {given!r}") from None


def _input(rig: Rig, volts: float, hertz: float | None = None) -> None:
    nominal_hz = rig.device.profile.output_frequency_hz if volts else 0.0
    rig.device.set_input(volts, nominal_hz if hertz is None else hertz)


def _load(rig: Rig, watts: float) -> None:
    rig.load_w = watts


def _battery(
    rig: Rig, charge: float | None = None, health: float | None = None, temperature: float | None = None
) -> None:
    device = rig.device
    before = device.battery
    spec = replace(
        before.spec,
        health=before.spec.health if health is None else health,
        temperature_c=before.spec.temperature_c if temperature is None else temperature,
    )
    device.battery = Battery(spec, before.charge if charge is None else charge)
    device.replace_battery &= health is None


def _say(rig: Rig, replies: int = UNTIL_SET_BACK, **figures: bool | float | None) -> None:
    rig.faults.override(figures, replies if figures else 0)


def _condition(rig: Rig, **conditions: bool) -> None:
    rig.device.conditions = replace(rig.device.conditions, **conditions)


def _nak(rig: Rig, code: int, replies: int = 1) -> None:
    rig.faults.nak_code, rig.faults.nak_replies = NakCode(code), replies


def _set(name: str, *, to: bool) -> Callable[[Rig], None]:
    return lambda rig: setattr(rig.faults, name, to)


def _count(name: str) -> Callable[..., None]:
    def turn(rig: Rig, replies: int = 1) -> None:
        setattr(rig.faults, name, replies)

    return turn


def _babble(rig: Rig, *, on: bool = True) -> None:
    rig.faults.babble = on


def _figures() -> tuple[Argument, ...]:
    """All that a status report says."""
    return tuple(
        Argument(name=field.name, kind=Kind.SWITCH, needed=False)
        if field.type == "bool"
        else Argument(name=field.name, kind=Kind.FIGURE, most=6553.4, needed=False)
        for field in fields(Status)
    )


_VOLTS: Final = Argument(name="volts", most=500, unit="V")
_REPLIES: Final = Argument(name="replies", kind=Kind.COUNT, least=UNTIL_SET_BACK, most=1000, needed=False)

_TABLE: Final = (
    Action(name="cut", help="the mains is gone", do=lambda rig: rig.device.cut_mains()),
    Action(name="restore", help="the mains is back, as on the name plate", do=lambda rig: rig.device.restore_mains()),
    Action(
        name="brown-out",
        help="mains of that voltage and the nominal frequency",
        do=lambda rig, volts: rig.device.brown_out(volts),
        arguments=(_VOLTS,),
    ),
    Action(
        name="input",
        help="mains of that voltage and frequency",
        do=_input,
        arguments=(_VOLTS, Argument(name="hertz", most=100, unit="Hz", needed=False)),
    ),
    Action(
        name="load",
        help="what hangs on the outlets",
        do=_load,
        arguments=(Argument(name="watts", most=100_000, unit="W"),),
    ),
    Action(
        name="battery",
        help="age the battery or exchange it: how full it is, its capacity by that of a new one, its temperature in °C",
        do=_battery,
        arguments=(
            Argument(name="charge", most=1, needed=False),
            Argument(name="health", least=0.01, most=1, needed=False),
            Argument(name="temperature", least=-20, most=60, unit="°C", needed=False),
        ),
        one_of=True,
    ),
    Action(name="button", help="a person switches the outlets on", do=lambda rig: rig.device.press_button()),
    Action(
        name="condition",
        help="what is the matter with the unit itself",
        do=_condition,
        arguments=tuple(Argument(name=field.name, kind=Kind.SWITCH, needed=False) for field in fields(Conditions)),
        usage="NAME=true|false ...",
        one_of=True,
    ),
    Action(name="unplug", help="pull the cable out of the computer", do=_set("unplugged", to=True)),
    Action(
        name="plug",
        help="put it back: a new USB device (to attach anew over USB/IP), a new terminal",
        do=_set("unplugged", to=False),
    ),
    Action(name="freeze", help="its controller hangs: it neither hears nor answers", do=_set("frozen", to=True)),
    Action(name="thaw", help="its controller works again", do=_set("frozen", to=False)),
    Action(name="silence", help="it obeys, and is not heard", do=_set("silent", to=True)),
    Action(name="speak", help="it is heard again", do=_set("silent", to=False)),
    Action(name="hang", help="the USB bridge answers no read at all", do=_set("hung", to=True), usb=True),
    Action(name="release", help="the USB bridge answers again", do=_set("hung", to=False), usb=True),
    Action(
        name="stall",
        help="halt the USB endpoint that is read, until the host clears that or resets the device",
        do=_set("stalled", to=True),
        usb=True,
    ),
    Action(
        name="babble",
        help="on USB a reply that begins well and never ends",
        do=_babble,
        arguments=(Argument(name="on", kind=Kind.SWITCH, needed=False),),
        usb=True,
    ),
    Action(
        name="corrupt",
        help="the next replies (1; -1 for all until 0) come with a wrong bit",
        do=_count("corrupt_replies"),
        arguments=(_REPLIES,),
    ),
    Action(
        name="truncate",
        help="the second half of the next replies is missing",
        do=_count("truncate_replies"),
        arguments=(_REPLIES,),
    ),
    Action(
        name="echo",
        help="the next requests come back in place of replies",
        do=_count("echo_replies"),
        arguments=(_REPLIES,),
    ),
    Action(
        name="mismatch",
        help="the next requests get proper replies to others",
        do=_count("mismatch_replies"),
        arguments=(_REPLIES,),
    ),
    Action(
        name="nak",
        help="the next requests are refused with that code",
        do=_nak,
        arguments=(Argument(name="code", kind=Kind.COUNT, most=max(NakCode)), _REPLIES),
    ),
    Action(
        name="say",
        help='let the next status replies (all of them, if not told) say something else; a figure may be "none"; '
        "without any, they say again what is measured",
        do=_say,
        arguments=(*_figures(), _REPLIES),
        usage="[FIGURE=VALUE ...] [replies=N]",
    ),
)
ACTIONS: Final[Mapping[str, Action]] = {action.name: action for action in _TABLE}
"""Every action by its name."""
