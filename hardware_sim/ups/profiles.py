"""Which UPS is simulated: its name plate, what it reports, and where it draws its lines."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final

from hardware_sim.ups.frames import CheckMode

BAUD_RATES: Final = (1200, 2400, 4800, 9600)


class Phases(enum.Enum):
    """How many phases go in and come out, as GI says it (GPSER page 3, character 45)."""

    ONE_ONE = "1"
    ONE_THREE = "2"
    THREE_ONE = "3"
    THREE_THREE = "4"

    @property
    def inputs(self) -> int:
        """Phases in."""
        return 3 if self in {Phases.THREE_ONE, Phases.THREE_THREE} else 1

    @property
    def outputs(self) -> int:
        """Phases out."""
        return 3 if self in {Phases.ONE_THREE, Phases.THREE_THREE} else 1


class UpsKind(enum.Enum):
    """How it makes its output (GPSER page 3, character 46)."""

    STEP_WAVE = "1"
    SINE_WAVE = "2"
    ON_LINE = "3"
    DOUBLE_FUNCTION = "4"

    @property
    def converts(self) -> bool:
        """Whether the inverter always makes the output, so that no mains voltage passes to it."""
        return self in {UpsKind.ON_LINE, UpsKind.DOUBLE_FUNCTION}


class ParallelRole(enum.Enum):
    """Its place among units in parallel (GPSER page 3, character 53)."""

    SINGLE = "0"
    SLAVE = "1"
    MASTER = "2"


class Reporting(enum.Enum):
    """How much of what there is to measure it tells."""

    SMALL_UNIT = "small unit"
    """As an iPlug: no charge, minutes, temperature and bypass, and a load of 0."""
    EVERYTHING = "everything"
    FLAGS = "flags"
    """Flags only: each figure is "not available"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentrSettings:
    """What is particular to a machine that speaks SENTR.

    `battery_high_byte_first` and `sums_byte_100` are the document's words against those of NUT, which reads real
    machines; the defaults are what NUT reads.
    """

    ident: int = 0
    """0 to 7: which of the machines on one line it is."""
    version: int = 194
    """Software version in hundredths."""
    first_activation: str = "1999-04-27"
    battery_high_byte_first: bool = False
    """The document has battery voltage and current, and no other words, with the high byte first."""
    sums_byte_100: bool = False
    """The document sums bytes 0 to 100, NUT 0 to 99: it would refuse every record with a date in byte 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A model of UPS.

    Voltages of the battery hold for a 12 V block; `input_low_v` and `input_high_v` are where it goes to
    battery. `restore_needs_mains`, `starts_after_run_out` and `replaces_pending_shutdown` are choices that
    no document settles; the defaults are what the documents and field reports make most likely.
    """

    sentr: SentrSettings | None = None
    """`None` for a unit that speaks GPSER."""
    baud: int = 1200
    thinking_s: float = 0.02
    """How long it takes to begin a reply."""

    model: str = "USV5"
    serial: str = ""
    firmware: str = "SWM036-01-02"
    phases: Phases = Phases.ONE_ONE
    kind: UpsKind = UpsKind.STEP_WAVE
    boost_stages: int = 1
    buck_stages: int = 1
    check_mode: CheckMode = CheckMode.SUM
    power_share_sockets: int = 0
    benches: int = 1
    batteries_per_bench: int = 1
    """0 to 15; 0 is "divide the nominal voltage by 12"."""
    parallel: ParallelRole = ParallelRole.SINGLE

    reporting: Reporting = Reporting.SMALL_UNIT
    nominal_values: bool = True
    """Whether it knows GN; the document does not demand it."""
    panel_test: bool = True
    """Whether it knows TP; the document does not demand it."""

    apparent_power_va: int = 800
    real_power_w: int = 480
    battery_voltage_v: int = 12
    battery_capacity_ah: int = 7
    output_voltage_v: int = 230
    output_frequency_hz: float = 50.0

    input_low_v: float = 165.0
    input_high_v: float = 280.0
    boost_below_v: float = 208.0
    buck_above_v: float = 252.0
    inverter_efficiency: float = 0.85
    battery_low_v: float = 10.8
    cut_off_v: float = 10.0
    test_s: float = 10.0
    self_test_every_s: float | None = None
    """How often it tests its battery unasked."""
    imminent_s: float = 30.0
    """How long before the outlets go off "shutdown imminent" is set."""

    restore_needs_mains: bool = True
    starts_after_run_out: bool = True
    replaces_pending_shutdown: bool = False

    def __post_init__(self) -> None:
        if self.baud not in BAUD_RATES:
            raise ValueError(f"a UPS has one of {BAUD_RATES} baud, not {self.baud}")


IPLUG_800: Final = Profile()
"""A Riello iPlug 800 as real ones report: flags, voltages, frequencies, battery voltage, and load 0."""

FULL_REPORT: Final = replace(IPLUG_800, model="ULC3", serial="SIM8000000000001", reporting=Reporting.EVERYTHING)
"""The same electrics in a unit that reports everything."""

CRC_MODE: Final = replace(FULL_REPORT, check_mode=CheckMode.CRC)
"""As `FULL_REPORT`, with frames protected by the CRC."""

FLAGS_ONLY: Final = replace(IPLUG_800, reporting=Reporting.FLAGS)
"""A unit that gives away as little as the document allows: every figure is "not available"."""

ON_LINE_1000: Final = Profile(
    model="UOD2",
    serial="SIM1000000000001",
    firmware="SWM035-01-07",
    kind=UpsKind.DOUBLE_FUNCTION,
    boost_stages=0,
    buck_stages=0,
    power_share_sockets=1,
    batteries_per_bench=3,
    reporting=Reporting.EVERYTHING,
    apparent_power_va=1000,
    real_power_w=800,
    battery_voltage_v=36,
)
"""An on-line unit with a bypass that reports everything, after a Sentinel Pro SEP 1000."""

THREE_TO_ONE_10K: Final = replace(
    ON_LINE_1000,
    model="SIM31",
    serial="SIM3100000000001",
    phases=Phases.THREE_ONE,
    kind=UpsKind.ON_LINE,
    power_share_sockets=0,
    batteries_per_bench=0,
    apparent_power_va=10_000,
    real_power_w=9_000,
    battery_voltage_v=240,
    battery_capacity_ah=9,
)
"""Three phases in and one out; frames with the sum."""

THREE_TO_THREE_20K: Final = replace(
    THREE_TO_ONE_10K,
    model="SIM33",
    serial="SIM3300000000001",
    phases=Phases.THREE_THREE,
    benches=2,
    parallel=ParallelRole.MASTER,
    apparent_power_va=20_000,
    real_power_w=18_000,
    battery_voltage_v=480,
)
"""Three phases in and out, two battery benches, master of a parallel system."""

SENTRY_60K: Final = Profile(
    sentr=SentrSettings(),
    baud=9600,
    model="Sentry",
    phases=Phases.THREE_THREE,
    kind=UpsKind.ON_LINE,
    boost_stages=0,
    buck_stages=0,
    reporting=Reporting.EVERYTHING,
    apparent_power_va=60_000,
    real_power_w=48_000,
    battery_voltage_v=432,
    battery_capacity_ah=65,
    inverter_efficiency=0.94,
    battery_low_v=10.2,
    cut_off_v=9.6,
    test_s=6.0,
    self_test_every_s=86_400.0,
)
"""A machine that speaks SENTR, after an MPT 60 in NUT's device library; a quarter of an hour at 90 % load."""
