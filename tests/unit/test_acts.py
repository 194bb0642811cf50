"""Who may command the UPS over the control socket."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from upsd.acts import battery_acts, may_act
from upsd.control import ActError

NOBODY = pwd.getpwnam("nobody")
NO_SUCH_USER = 3_999_999_999


@pytest.mark.parametrize("uid", [0, os.geteuid()], ids=["root", "the daemon's own user"])
def test_root_and_the_daemon_itself_may(uid: int) -> None:
    """Without any setting."""
    assert may_act(uid, None) is None


def test_anybody_else_may_not_unless_a_group_is_named() -> None:
    """The message says how to change that."""
    assert "control.operators" in str(may_act(NOBODY.pw_uid, None))


def test_members_of_the_group_may() -> None:
    """Also those whose first group it is."""
    assert may_act(NOBODY.pw_uid, grp.getgrgid(NOBODY.pw_gid).gr_name) is None


def test_others_may_not() -> None:
    """Who is in another group."""
    assert may_act(NOBODY.pw_uid, "root") == "only root and the members of the group root may do that"


@pytest.mark.parametrize(("uid", "group"), [(NOBODY.pw_uid, "no-such-group"), (NO_SUCH_USER, "root")])
def test_what_does_not_exist_allows_nobody_anything(uid: int, group: str) -> None:
    """A misspelt group is no way in."""
    assert "there is no user" in str(may_act(uid, group))


async def test_what_was_learned_of_the_battery_is_forgotten_only_if_that_is_meant() -> None:
    """Without --yes nothing is done."""
    forgotten: list[None] = []
    act = battery_acts(lambda: forgotten.append(None))["ups-new-battery"]
    with pytest.raises(ActError, match="--yes"):
        await act({"act": "ups-new-battery"})
    assert forgotten == []
    assert await act({"act": "ups-new-battery", "yes": True}) == {"forgotten": True}
    assert forgotten == [None]
