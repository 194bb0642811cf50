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
