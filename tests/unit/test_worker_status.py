"""What a worker's helper says is read as it is, or refused; never half of it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from upsd.domain.worker import (
    NetworkMounts,
    PoweroffStage,
    WorkerStatus,
    WorkerStatusError,
    parse_mounts,
    parse_status,
)

KEYS = st.sampled_from(
    ["version", "uptime_s", "load_1m", "throttled", "under_voltage", "root_errors", "k3s", "poweroff", "x"]
)
LINES = st.tuples(KEYS, st.one_of(st.text(max_size=8), st.integers().map(str), st.floats().map(str))).map("=".join)

RASPBERRY_PI = """\
version=1
uptime_s=93
load_1m=0.42
temperature_c=51.5
throttled=0x50001
under_voltage=1
under_voltage_seen=1
root_free_percent=58
root_read_only=0
root_errors=3
k3s=active
poweroff=waiting
"""


def test_a_whole_status_is_read() -> None:
    """Every key has its field and its unit."""
    assert parse_status(RASPBERRY_PI) == WorkerStatus(
        uptime_s=93.0,
        load_1m=0.42,
        temperature_c=51.5,
        throttled=0x50001,
        under_voltage=True,
        under_voltage_seen=True,
        root_free_percent=58.0,
        root_read_only=False,
        root_errors=3,
        k3s="active",
        poweroff=PoweroffStage.WAITING,
    )


def test_the_mounts_that_a_power_off_names_are_read() -> None:
    """As the kernel writes them, with blanks as numbers; a line that is none of them says nothing."""
    said = "upsd-worker: powering off\nmount=/a\\040b\nhung_mount=/c\\134040\nmount=/d\n=\nmount\nmount=/e=f\n"
    assert parse_mounts(said) == NetworkMounts(("/a b", "/d", "/e=f"), ("/c\\040",))


@pytest.mark.parametrize("said", ["", "Shutdown scheduled", "upsd-worker: powering off\n"])
def test_a_power_off_that_names_no_mounts_has_none(said: str) -> None:
    """As that of a machine without our helper."""
    assert parse_mounts(said) == NetworkMounts()


def test_what_can_t_be_printed_is_not_read_as_such() -> None:
    """It would break whatever shows it."""
    assert parse_mounts("mount=/a\\012b\n").answering == ("/a\\012b",)


def test_what_is_not_said_is_not_known() -> None:
    """No value is made up."""
    assert parse_status("version=1\nk3s=inactive\n") == WorkerStatus(k3s="inactive")


def test_a_newer_helper_may_say_more() -> None:
    """What we don't know does not keep us from what we do."""
    assert parse_status("version=1\nfan_rpm=900\nload_1m=1.0\n") == WorkerStatus(load_1m=1.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no status of a worker"),
        ("upsd-worker: not allowed: status", "put config/worker/upsd-worker on that machine"),
        ("version=2\n", "no status of a worker"),
        ("version=1\nload_1m=nan", "load_1m can't be 'nan'"),
        ("version=1\nunder_voltage=yes", "it is neither 0 nor 1"),
        ("version=1\npoweroff=soon", "poweroff can't be 'soon'"),
        ("version=1\nk3s=", "it is no word"),
        ("version=1" + "\n" * 20_000, "20009 characters"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, reason: str) -> None:
    """The reader learns which value, or what to do."""
    with pytest.raises(WorkerStatusError, match=reason):
        parse_status(text)


@given(st.one_of(st.text(), st.lists(LINES).map(lambda lines: "\n".join(["version=1", *lines]))))
@example("version=1\nroot_errors=" + "9" * 5000)
@example("version=1\nuptime_s=" + "9" * 5000)
def test_no_text_raises_anything_else(text: str) -> None:
    """Whatever a broken machine says."""
    with contextlib.suppress(WorkerStatusError):
        assert parse_status(text).poweroff in PoweroffStage
