"""The ledger, the verdict, the arming and the scheduled rehearsal, as the daemon has them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_world import MemoryWorld
from tests.sim.outages import WORKERS, Outage, living, rules
from upsd.control import ActError
from upsd.readiness import ReadinessKeeper, ReadinessRules
from upsd.shutdown.phase import Phase
from upsd.shutdown.readiness_files import load_arming, load_ledger
from upsd.shutdown.verdict import NOT_ARMED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from upsd.domain.readiness import Readiness
    from upsd.status import Json

BEGAN = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
A_DAY_S = 86400.0


@dataclass
class Rack:
    """A rack on mains with a keeper that looks after its readiness."""

    directory: Path
    every_s: float | None = 7 * A_DAY_S
    outage: Outage = field(default_factory=lambda: Outage(MemoryWorld(workers=WORKERS), rules(on_battery_s=30.0)))
    changes: int = 0

    def __post_init__(self) -> None:
        """Wire it, as the daemon does."""
        self.keeper = ReadinessKeeper(
            self.directory,
            ReadinessRules(30 * A_DAY_S, self.every_s),
            emit=self.outage.events.append,
            changed=self._changed,
            today=lambda: BEGAN + timedelta(seconds=asyncio.get_running_loop().time()),
        )
        self.prints = {step.id: "1" for step in self.outage.conductor.plan.steps}
        self.keeper.follow(self.outage.supervisor, self.outage.conductor, self.prints)
        self.outage.learn = self.keeper.learn

    def _changed(self) -> None:
        self.changes += 1

    async def act(self, name: str, **arguments: Json) -> Json:
        """Command something, as root."""
        return await self.keeper.acts()[name]({**arguments, "uid": 0})

    async def rehearse(self) -> None:
        """Rehearse to the end."""
        await self.act("rehearse")
        while self.outage.conductor.phase is Phase.REHEARSING:  # noqa: ASYNC110  # virtual time costs nothing
            await asyncio.sleep(0.5)

    def look(self) -> Readiness:
        """The verdict now."""
        found = self.keeper.look(())
        assert found
        return found


def racked(work: Callable[[Rack], Awaitable[None]], directory: Path, **more: float | None) -> Awaitable[None]:
    """Play it on a rack that has been on mains for some seconds."""

    async def play() -> None:
        rack = Rack(directory, **more)  # type: ignore[arg-type]
        async with living(rack.outage):
            await asyncio.sleep(5.0)
            await work(rack)

    return play()


async def test_a_rehearsal_and_arming_make_a_rack_ready(tmp_path: Path) -> None:
    """And each change of the verdict is told once, with the reasons."""

    async def work(rack: Rack) -> None:
        before = rack.look()
        steps = len(rack.outage.conductor.plan.steps)
        assert before.because == (
            NOT_ARMED,
            f"{steps} steps are not proven (announce and {steps - 1} more): run upsctl rehearse",
        )
        await rack.rehearse()
        assert rack.look().because == (NOT_ARMED,)
        assert await rack.act("arm") == {"armed": True, "unproven": [], "trouble": None}
        found = rack.look()
        assert (found.ready, found.proven_steps, found.of) == (True, steps, steps)
        rack.look()
        told = [event.fields["ready"] for event in rack.outage.events if event.name == "readiness_changed"]
        assert told == [False, False, True]
        assert rack.changes == 1

    await racked(work, tmp_path)
    ledger, _ = load_ledger(tmp_path)
    assert ledger.of("poweroff pi3").proven("1")
    arming, _ = load_arming(tmp_path)
    assert arming
    assert (arming.uid, str(arming.at)[:10]) == (0, "2026-11-26")


async def test_arming_is_refused_for_what_is_not_proven_unless_told_so(tmp_path: Path) -> None:
    """With the list, so that nobody has to look for it."""

    async def work(rack: Rack) -> None:
        rack.outage.world.rack.hosts["pi3"].faults.fail("run_unforced", "refused the key")
        await rack.rehearse()
        with pytest.raises(ActError, match=r"1 of \d+ steps are not proven: poweroff pi3; run upsctl rehearse"):
            await rack.act("arm")
        assert load_arming(tmp_path) == (None, None)
        armed = await rack.act("arm", unproven=True)
        assert armed == {"armed": True, "unproven": ["poweroff pi3"], "trouble": None}
        assert rack.look().because == ("poweroff pi3 failed when rehearsed on 2026-11-26: refused the key",)

    await racked(work, tmp_path)


async def test_disarming_wants_to_be_meant(tmp_path: Path) -> None:
    """It leaves the rack to its fate."""

    async def work(rack: Rack) -> None:
        await rack.act("arm", unproven=True)
        with pytest.raises(ActError, match="--yes"):
            await rack.act("disarm")
        assert rack.look().armed
        await rack.act("disarm", yes=True)
        assert next(rack.keeper.warnings()) == NOT_ARMED

    await racked(work, tmp_path)
    assert load_arming(tmp_path) == (None, None)


async def test_an_arming_that_can_t_be_written_counts_until_the_next_restart_and_says_so(tmp_path: Path) -> None:
    """A disk that fails must not keep the rack from being saved; what can't be taken away stays."""
    (tmp_path / "armed.json.new").mkdir()

    async def work(rack: Rack) -> None:
        await rack.act("arm", unproven=True)
        assert rack.keeper.armed
        assert next(rack.keeper.warnings()).startswith("armed, but only until the next restart: ")
        (tmp_path / "armed.json").mkdir()
        with pytest.raises(ActError, match="still armed: "):
            await rack.act("disarm", yes=True)
        assert rack.look().armed

    await racked(work, tmp_path)


async def test_a_torn_arming_counts_and_is_the_first_warning(tmp_path: Path) -> None:
    """As does one for other settings, which a person should look at."""
    (tmp_path / "armed.json").write_text("{")
    assert next(Rack(tmp_path).keeper.warnings()).endswith("run upsctl arm again")
    (tmp_path / "armed.json").write_text('{"uid": 0, "at": null, "fingerprint": "another"}')
    rack = Rack(tmp_path)
    assert rack.keeper.armed
    assert next(rack.keeper.warnings()).startswith("the settings have changed since upsd was armed")


async def test_a_proof_of_other_settings_is_none(tmp_path: Path) -> None:
    """A machine with a new address has never been reached there."""

    async def work(rack: Rack) -> None:
        await rack.rehearse()
        rack.prints["poweroff pi3"] = "moved"
        assert "1 steps are not proven (poweroff pi3): run upsctl rehearse" in rack.look().because

    await racked(work, tmp_path)


async def test_an_outage_proves_what_it_did(tmp_path: Path) -> None:
    """No rehearsal can prove as much."""

    async def work(rack: Rack) -> None:
        rack.outage.world.device.cut_mains()
        assert await rack.outage.world.until(lambda: rack.outage.world.on_when_cut is not None, 3600.0)

    await racked(work, tmp_path)
    ledger, _ = load_ledger(tmp_path)
    proof = ledger.of("confirm-off pi3").proven("1")
    assert proof
    assert (proof.how.value, proof.detail) == ("outage", "port silent and node NotReady")


async def test_a_drill_proves_what_it_did_and_shows_what_failed(tmp_path: Path) -> None:
    """As done for real, and of that one worker only: the cordon of one node is no proof of the cordon of all."""

    async def drill(rack: Rack) -> None:
        rack.outage.conductor.drill("pi3")
        assert await rack.outage.world.until(lambda: rack.outage.conductor.phase is Phase.IDLE, 3600.0)

    async def work(rack: Rack) -> None:
        await drill(rack)
        assert rack.look().proven_steps == 3
        rack.outage.world.rack.hosts["pi3"].faults.fail("run", "refused the key")
        await drill(rack)
        assert "poweroff pi3 failed when drilled on 2026-11-26: refused the key" in rack.look().because

    await racked(work, tmp_path)
    ledger, _ = load_ledger(tmp_path)
    assert set(ledger.entries) == {"drain pi3", "poweroff pi3", "confirm-off pi3"}
    proof = ledger.of("drain pi3").proven("1")
    assert proof
    assert proof.how.value == "drilled"


async def test_a_rehearsal_is_refused_in_an_outage_and_while_a_plan_runs(tmp_path: Path) -> None:
    """An outage comes first, from its first reading on."""

    async def work(rack: Rack) -> None:
        await rack.act("rehearse")
        with pytest.raises(ActError, match=r"under way \(rehearsing\)"):
            await rack.act("rehearse")
        rack.outage.world.device.cut_mains()
        await asyncio.sleep(2.0)
        with pytest.raises(ActError, match="the UPS does not say that the mains is there"):
            await rack.act("rehearse")
        await asyncio.sleep(40.0)
        with pytest.raises(ActError, match=r"under way \(shutting-down\)"):
            await rack.act("rehearse")

    await racked(work, tmp_path)


@pytest.mark.parametrize(("every_s", "times"), [(600.0, 3), (None, 0)])
async def test_after_the_first_one_it_rehearses_by_itself(tmp_path: Path, every_s: float | None, times: int) -> None:
    """Not before: on a rack that is being set up nobody wants to be told of what is not there yet."""

    async def work(rack: Rack) -> None:
        keeping = asyncio.create_task(rack.keeper.keep_rehearsing())
        await asyncio.sleep(1300.0)
        assert "rehearsal_started" not in rack.outage.names()
        keeping.cancel()
        await rack.rehearse()
        rack.outage.events.clear()
        keeping = asyncio.create_task(rack.keeper.keep_rehearsing())
        await asyncio.sleep(2100.0)
        keeping.cancel()
        assert rack.outage.names().count("rehearsal_started") == times

    await racked(work, tmp_path, every_s=every_s)


async def test_a_rehearsal_that_an_outage_called_off_is_caught_up_on(tmp_path: Path) -> None:
    """As soon as the mains is there again, and not a week later."""

    async def work(rack: Rack) -> None:
        await rack.rehearse()
        rack.prints["poweroff pi3"] = "moved"
        rack.outage.world.rack.hosts["pi3"].faults.hang("run_unforced", for_s=90.0)
        keeping = asyncio.create_task(rack.keeper.keep_rehearsing())
        await asyncio.sleep(65.0)
        assert rack.outage.conductor.phase is Phase.REHEARSING
        rack.outage.world.device.cut_mains()
        await asyncio.sleep(5.0)
        rack.outage.world.device.restore_mains()
        await asyncio.sleep(200.0)
        keeping.cancel()
        assert rack.outage.names().count("rehearsal_cancelled") == 1
        assert not any("not proven" in reason for reason in rack.look().because)

    await racked(work, tmp_path)


async def test_the_verdict_waits_for_the_ups_and_stays_as_it_was_in_an_outage(tmp_path: Path) -> None:
    """It is about the next outage, and nothing is judged by what nobody knows."""
    rack = Rack(tmp_path)
    assert rack.keeper.look(()) is None
    assert rack.keeper.look(("no UPS is plugged in",)) is not None

    async def work(other: Rack) -> None:
        await other.act("arm", unproven=True)
        before = other.look()
        other.outage.world.device.cut_mains()
        await asyncio.sleep(60.0)
        assert other.outage.conductor.phase is Phase.SHUTTING_DOWN
        assert other.look() is before

    await racked(work, tmp_path)


async def test_a_daemon_that_starts_in_an_outage_says_at_once_that_it_is_not_armed(tmp_path: Path) -> None:
    """Nothing is known of a full battery then, and it does not matter."""
    rack = Rack(tmp_path)
    rack.outage.world.device.cut_mains()
    async with living(rack.outage):
        await asyncio.sleep(2.0)
        found = rack.keeper.look(("the UPS sends without end",))
        assert found
        assert found.because[0] == NOT_ARMED
        assert "the UPS sends without end" not in found.because
