"""A table of settings, and the kinds of value that one can hold, each with its limits and the words that say so."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from upsd.domain.duration import parse_duration


def _duration(value: object) -> object:
    if isinstance(value, str | bool):
        return parse_duration(str(value).lower() if isinstance(value, bool) else value)
    return value


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Variable(str):
    """A value from the environment, where everything is text, also a number."""

    __slots__ = ()


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers; write a number")  # noqa: TRY004 (pydantic wants ValueError)
    if isinstance(value, str) and not isinstance(value, Variable) and re.fullmatch(r"\s*-?[\d.]+\s*", value):
        raise ValueError("is a number in quotes, which is text; write it without them")
    return value


def _multiple_of(unit_s: int, most_s: int, right: str) -> AfterValidator:
    def check(value: float) -> float:
        if value % unit_s or not unit_s <= value <= most_s:
            raise ValueError(f"{value:g} s is not what the UPS can count; write {right}")
        return value

    return AfterValidator(check)


def _matching(pattern: str, right: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"can't be used as it stands; write {right}")
        return value

    return AfterValidator(check)


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("is a relative path; write the whole path, from /")
    return path


def _mac_address(text: str) -> str:
    digits = re.sub(r"[:.-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        raise ValueError("is no MAC address; write it like dc:a6:32:01:02:03")
    if int(digits[1], 16) & 1 or not int(digits, 16):
        raise ValueError("is the MAC address of no machine; `ip link` on it shows its own, after link/ether")
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _ipv4_address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise ValueError("is no IPv4 address; write one like 192.168.7.255") from None


Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0, allow_inf_nan=False)]
WholeSeconds = Annotated[Duration, _multiple_of(1, 65535, "whole seconds from 1 to 65535")]
WholeMinutes = Annotated[Duration, _multiple_of(60, 65535 * 60, "whole minutes, such as 60 or 2min")]
Watts = Annotated[float, BeforeValidator(_number), Field(ge=0, le=5000, allow_inf_nan=False)]
Positive = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)]
Percent = Annotated[int, BeforeValidator(_number), Field(ge=1, le=100)]
Port = Annotated[int, BeforeValidator(_number), Field(ge=1, le=65535)]
TopicPart = Annotated[str, _matching(r"[a-z0-9_-]+", "only a-z, 0-9, _ and -")]
MachineName = Annotated[
    str, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", 'letters, digits, ".", "_" and "-", with a letter or digit first')
]
Host = Annotated[str, _matching(r"[^\s/@-][^\s/@]*", "a host name or an address alone, without user or port")]
ServerAddress = Annotated[
    str, _matching(r"https://[^\s/@]+", 'an address such as "https://192.168.7.10:6443", without user or path')
]
MacAddress = Annotated[str, AfterValidator(_mac_address)]
Ipv4 = Annotated[str, AfterValidator(_ipv4_address)]
UpsPort = Annotated[
    str,
    _matching(
        r"usb(:\d+-\d+(\.\d+)*)?|serial:/.+",
        '"usb", "usb:1-4.2" for what is plugged in there, or "serial:/dev/ttyUSB0"',
    ),
]
Topic = Annotated[str, _matching(r"[^\s+#/]+(/[^\s+#/]+)*", 'a topic without "+", "#" or outer "/"')]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Command = Annotated[list[str], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
