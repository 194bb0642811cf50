"""What is the matter with a Sentry machine? The alarm and code bytes 19 to 34 of a SENTR record, bit by bit. Pure.

Source: "SENTRY HPS / HTS communication protocol" 1.00, pages 6 to 10.
"""

from __future__ import annotations

ALARM_BYTES_FROM = 18

MANUAL_BYPASS = (31, 1)
BYPASS_LINE_DISTURBED = (31, 0)
BYPASS_LINE_FAILED = (31, 2)
MAINS_FAILED = (31, 3)
BATTERY_LOW = (31, 4)
OUTPUT_OVERLOAD = (31, 7)
TEMPORARY_BYPASS = (32, 0)
BYPASS_BELOW_AUTO_OFF = (32, 1)
INVERTER_LOCKED = (32, 3)
RECTIFIER_LOCKED = (32, 5)
BYPASS_BY_OVERLOAD = (33, 4)
BYPASS_COMMAND = (33, 5)
REMOTE_BYPASS_COMMAND = (33, 6)
OVER_TEMPERATURE = (34, 0)
OUTPUT_OFF = (34, 2)
SYSTEM_OFF_COMMAND = (34, 3)
REMOTE_OFF_PENDING = (34, 4)
OUTPUT_BREAKER_OFF = (22, 1)

ON_BYPASS = (
    MANUAL_BYPASS,
    TEMPORARY_BYPASS,
    BYPASS_BELOW_AUTO_OFF,
    BYPASS_BY_OVERLOAD,
    BYPASS_COMMAND,
    REMOTE_BYPASS_COMMAND,
)
IS_OFF = (OUTPUT_BREAKER_OFF, OUTPUT_OFF, SYSTEM_OFF_COMMAND)
FAULTS = (*((32, bit) for bit in range(2, 8)), *((33, bit) for bit in range(4)), (34, 6))
"""Faults 1 to 11 of the document."""

_CODE_BYTES = range(19, 31)
_ALARM_BYTES = range(31, 35)

_NAMES: dict[int, tuple[str, ...]] = {
    19: (
        "power supply error on the system card",
        "error on the system power supply card",
        "synchronisation error on the system card",
        "frequency error on the system card",
        "system over temperature",
        "initialisation error on the system card",
        "remote system shut-off active",
        "auxiliary input of the system card active",
    ),
    20: (
        "permanent fault of the system power supply",
        "RS-232 DSR signal present",
        "key card not present",
        "jumper 2 not present on the system card",
        "low direct voltage",
        "low direct voltage pre-alarm",
        "battery contactor open",
        "permanent fault of the battery contactor",
    ),
    21: (
        "high output peak current, line 1",
        "high output peak current, line 2",
        "high output peak current, line 3",
        "output overload, line 1",
        "output overload, line 2",
        "output overload, line 3",
        "permanent output overload",
        "internal or load insulation loss",
    ),
    22: (
        "",
        "output breaker SWOUT off",
        "mean output voltage wrong, line 3",
        "output voltage wrong, line 1",
        "output voltage wrong, line 2",
        "output voltage wrong, line 3",
        "mean output voltage wrong, line 1",
        "mean output voltage wrong, line 2",
    ),
    23: (
        "remote bypass command active",
        "failure of the bypass line's thyristors",
        "bypass line 1 voltage wrong",
        "bypass line 2 voltage wrong",
        "bypass line 3 voltage wrong",
        "bypass line frequency wrong",
        "bypass line phases in the wrong order",
        "manual bypass breaker SWMB closed",
    ),
    24: (
        "failure of the inverter output contactor",
        "inverter contactor open",
        "bypass line contactor closed",
        "failure of the bypass line contactor",
        "",
        "switching to bypass inhibited",
        "failure of the inverter output contactor",
        "inverter commanded on",
    ),
    25: (
        "high voltage on input line 1",
        "high voltage on input line 2",
        "high voltage on input line 3",
        "low voltage on input line 1",
        "low voltage on input line 2",
        "low voltage on input line 3",
        "no input current on line 1",
        "no input current on line 2",
    ),
    26: (
        "no input current on line 3",
        "rectifier limits the output power",
        "rectifier regulation error",
        "input frequency wrong",
        "rectifier over temperature",
        "rectifier output voltage high",
        "rectifier power supply error",
        "rectifier inhibited",
    ),
    27: (
        "failure of one branch of the rectifier",
        "",
        "",
        "",
        "permanent failure of the rectifier",
        "rectifier signal DRV1",
        "rectifier signal DRV2",
        "rectifier signal DRV3",
    ),
    28: (
        "cable error on the inverter driver card",
        "inverter stopped by driver card 1",
        "inverter stopped by driver card 2",
        "inverter over current",
        "cable error in the inverter",
        "inverter power supply error",
        "inverter signal HFDRV R",
        "inverter signal HFDRV S",
    ),
    29: (
        "inverter failure",
        "inverter synchronisation missing",
        "inverter reset failure",
        "inverter driver card power supply error",
        "inverter output voltage high",
        "inverter input voltage high",
        "inverter over temperature, module 1",
        "inverter over temperature, module 2",
    ),
    30: (
        "inverter over temperature, module 3",
        "inverter stopped by driver card 1",
        "inverter signal HFDRV T",
        "inverter inhibited",
        "inverter output voltage low",
        "inverter input voltage low",
        "inverter manual reset",
        "permanent failure of the inverter",
    ),
    31: (
        "disturbances on the bypass line",
        "manual bypass, SWMB on",
        "bypass line voltage failed, or SWBY off",
        "mains voltage failed, or SWIN off",
        "low battery pre-alarm",
        "low input voltage, or output overload in watts",
        "low battery charge, or battery breaker SWB open",
        "output overload",
    ),
    32: (
        "temporary bypass",
        "bypass, because the output is below the auto-off value",
        "fault 1: configuration card not present",
        "fault 2: inverter locked",
        "fault 3: output contactors",
        "fault 4: rectifier locked",
        "fault 5: thyristors of the bypass line",
        "fault 6: power supply card locked",
    ),
    33: (
        "fault 7: system power supply",
        "fault 8: one section of the rectifier",
        "fault 9: battery contactor",
        "fault 10: inverter communication",
        "bypass by output overload",
        "bypass command active",
        "remote bypass command active",
        "internal or load insulation loss",
    ),
    34: (
        "over temperature, or fan failure",
        "input phases in the wrong order",
        "output off",
        "system off command active",
        "remote system off command",
        "memory changed",
        "fault 11: output voltage failed",
        "",
    ),
}


def is_set(alarm_bytes: bytes, alarm: tuple[int, int]) -> bool:
    """Whether this bit (byte of the record, bit) is set in bytes 18 to 34."""
    byte, bit = alarm
    return bool(alarm_bytes[byte - ALARM_BYTES_FROM] >> bit & 1)


def any_set(alarm_bytes: bytes, alarms: tuple[tuple[int, int], ...]) -> bool:
    """Whether one of these bits is set."""
    return any(is_set(alarm_bytes, alarm) for alarm in alarms)


def alarms(alarm_bytes: bytes) -> tuple[str, ...]:
    """What is the matter, in words: the bits of the code "a"."""
    return _described(alarm_bytes, _ALARM_BYTES)


def codes(alarm_bytes: bytes) -> tuple[str, ...]:
    """What else its parts say of themselves: the bits of the codes s, c, b, r and i, some of them set at all times."""
    return _described(alarm_bytes, _CODE_BYTES)


def _described(alarm_bytes: bytes, numbers: range) -> tuple[str, ...]:
    bits = ((byte, bit) for byte in numbers for bit in range(8))
    found = (_NAMES[byte][bit] for byte, bit in bits if is_set(alarm_bytes, (byte, bit)))
    return tuple(dict.fromkeys(name for name in found if name))
