from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from upsd.domain.rack import RackError
from upsd.rack.host import ThisHost

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_power_off_command_is_run_as_it_stands(tmp_path: Path) -> None:
    """Words with spaces stay words: no shell has its say."""
    trace = tmp_path / "powered off"
    await ThisHost(["touch", str(trace)]).poweroff()
    assert trace.exists()


async def test_a_refused_power_off_names_the_rights_that_are_missing() -> None:
    """The commonest failure is a missing polkit rule, so the error says which rights it must give."""
    refused = "echo 'Failed to set wall message: Interactive authentication required.' >&2; exit 1"
    with pytest.raises(RackError) as caught:
        await ThisHost(["sh", "-c", refused]).poweroff()
    message = str(caught.value)
    assert message.startswith("this machine did not begin to power off: ")
    assert "(exit code 1): Failed to set wall message: Interactive authentication required." in message
    assert "polkit rule" in message
    assert "org.freedesktop.login1.power-off" in message


async def test_a_power_off_that_hangs_is_an_error_in_time() -> None:
    """The last step of the plan must end too."""
    with pytest.raises(RackError, match=r"`sleep 60` did not end within 0\.1 s"):
        await ThisHost(["sleep", "60"], timeout_s=0.1).poweroff()


@pytest.mark.parametrize(("answer", "may"), [("yes", True), ("challenge", False), ("no", False)])
async def test_logind_says_whether_the_default_power_off_would_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, may: bool
) -> None:
    """A challenge is a password prompt, which nobody answers in an outage."""
    busctl = tmp_path / "busctl"
    busctl.write_text(f"#!/bin/sh\necho 's \"{answer}\"'\n")
    busctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    host = ThisHost(["systemctl", "poweroff"])
    if may:
        assert await host.check_poweroff() == "logind would power this machine off"
    else:
        with pytest.raises(RackError, match=rf'logind answers s "{answer}" to CanPowerOff: .*polkit rule'):
            await host.check_poweroff()


async def test_another_power_off_command_is_only_looked_for(tmp_path: Path) -> None:
    """It is not run, and a missing one is named."""
    trace = tmp_path / "powered off"
    assert (await ThisHost(["touch", str(trace)]).check_poweroff()).startswith("touch is there")
    assert not trace.exists()
    with pytest.raises(RackError, match=r"there is no program upsd-none .* master\.poweroff_command"):
        await ThisHost(["upsd-none"]).check_poweroff()
