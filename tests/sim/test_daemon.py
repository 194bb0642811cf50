"""What the wired daemon shows to somebody who asks."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from upsd.daemon import Daemon
from upsd.domain.plan import Step, StepKind, StepProgress, StepState
from upsd.settings import load_settings
from upsd.shutdown.steps.storage import WaitStorage

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SETTINGS = '[master]\nname = "m"\nwatts = 20\npoweroff_command = ["true"]\n'


def started(directory: Path, more: str = "") -> Daemon:
    """A daemon that is wired and does not run."""
    (directory / "upsd.toml").write_text(f'state_directory = "{directory}"\n{SETTINGS}{more}', encoding="utf-8")
    return Daemon(load_settings(directory / "upsd.toml", {}))


async def test_systemd_and_the_first_warning_say_that_it_is_not_armed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is; a daemon that was armed before is so from its start."""
    said: list[str] = []
    monkeypatch.setattr("upsd.notify.Notifier.status", lambda _, text: said.append(text))
    daemon = started(tmp_path)
    daemon._show()
    assert said == ["NOT ARMED, unknown, idle"]
    assert str(daemon.board.state["warnings"][0]).startswith("NOT ARMED")  # type: ignore[index]
    await daemon._readiness.acts()["arm"]({"unproven": True, "uid": 0})
    assert said == ["NOT ARMED, unknown, idle", "unknown, idle"]
    assert "NOT ARMED" not in str(daemon.board.state["warnings"])
    started(tmp_path)._show()
    assert said[-1] == "unknown, idle"


async def test_a_running_steps_time_goes_on_for_who_asks(tmp_path: Path) -> None:
    """A step that waits must not look as if the daemon hung."""
    daemon = started(tmp_path)
    step = Step(
        id="announce",
        kind=StepKind.ANNOUNCE,
        target="rack",
        needs=(),
        expected_s=9,
        minimum_s=1,
        limit_s=99,
        harmless=True,
    )
    now = asyncio.get_running_loop().time()
    daemon._conductor.progress = {step.id: StepProgress(step, StepState.RUNNING, started_at=now, deadline_at=now + 99)}
    await asyncio.sleep(5)
    daemon._surfaces.refresh()
    assert [shown["seconds"] for shown in daemon.board.shutdown["steps"]] == [5.0]  # type: ignore[index,union-attr,call-overload]


def damaged_in(directory: Path) -> list[Path]:
    """The damaged journals that were kept."""
    return list(directory.glob("journal.jsonl.damaged-*"))


async def test_a_damaged_journal_is_told_to_everybody(tmp_path: Path) -> None:
    """Once as an event, and as a warning for as long as the daemon runs; what is intact is taken up."""
    (tmp_path / "upsd.toml").write_text(f'state_directory = "{tmp_path}"\n{SETTINGS}', encoding="utf-8")
    began = {"record": "outage", "outage": "o1", "reason": "on-battery", "boot_id": "b0"}
    (tmp_path / "journal.jsonl").write_text(f"{json.dumps(began)}\nrubbish\n{json.dumps({'record': 'started'})}\n")
    daemon = Daemon(load_settings(tmp_path / "upsd.toml", {"UPSD_CONTROL__SOCKET": str(tmp_path / "control.sock")}))
    assert daemon._unfinished
    assert daemon._unfinished.outage == "o1"
    with daemon.board.subscribe() as heard:
        await daemon._filing.take_up(daemon._conductor.recorder)
        await daemon._conductor.close()
        told = [document for topic, document in iter(lambda: heard.take(0.0) or ("end", {}), ("end", {}))]
    (event,) = (document for document in told if document.get("event_type") == "journal_damaged")
    (kept,) = damaged_in(tmp_path)
    assert event["fields"] == {"lines": 1, "kept": str(kept)}
    assert any(f"is kept as {kept}" in warning for warning in daemon._warnings())
    records = [json.loads(line)["record"] for line in (tmp_path / "journal.jsonl").read_text().splitlines() if line]
    assert records == ["outage", "started", "damaged", "started"]
    daemon._journal.close()


async def test_an_outage_that_was_over_when_the_daemon_was_killed_is_filed_at_its_start(tmp_path: Path) -> None:
    """It gets its report, and the journal begins anew."""
    (tmp_path / "upsd.toml").write_text(f'state_directory = "{tmp_path}"\n{SETTINGS}', encoding="utf-8")
    lost = {"at": "2026-01-14T03:10:00.000Z", "record": "supply", "lost_at": 1.0, "boot_id": "b0"}
    (tmp_path / "journal.jsonl").write_text(f"{json.dumps(lost)}\n")
    daemon = Daemon(load_settings(tmp_path / "upsd.toml", {"UPSD_CONTROL__SOCKET": str(tmp_path / "control.sock")}))
    with daemon.board.subscribe() as heard:
        await daemon._filing.take_up(daemon._conductor.recorder)
        told = [document for topic, document in iter(lambda: heard.take(0.0) or ("end", {}), ("end", {}))]
    (event,) = (document for document in told if document.get("event_type") == "outage_report_written")
    path = tmp_path / "outages" / "20260114T031000Z.md"
    assert event["fields"] == {"outage": "20260114T031000Z", "path": str(path)}
    assert path.read_text().startswith("# Outage of 14 January 2026")
    assert not (tmp_path / "journal.jsonl").exists()
    daemon._journal.close()


async def test_the_plan_that_is_told_has_the_settings_groups_and_the_recovery(tmp_path: Path) -> None:
    """As the wired daemon would run them; a worker with `mac` can be woken."""
    workers = "".join(
        f'[[workers]]\nname = "{name}"\nhost = "192.0.2.{at}"\nwatts = 5\n{more}'
        for at, (name, more) in enumerate({"w1": 'mac = "aa:bb:cc:dd:ee:ff"\n', "w2": ""}.items())
    )
    group = '[[shedding]]\nname = "extras"\nworkers = ["w1", "w2"]\non_battery = "2min"\n'
    daemon = started(tmp_path, workers + group)
    document = await daemon._plan()
    assert isinstance(document, dict)
    (shed,) = document["shedding"]
    assert str(shed).startswith("extras: w1, w2 would go off after 2 min on battery")
    assert str(shed).endswith("for want of `mac`: w2.")
    assert any("wait-host w1" in str(line) for line in document["recovery"])
    daemon._journal.close()


async def test_what_an_earlier_run_knew_of_the_nas_is_known_to_the_steps(tmp_path: Path) -> None:
    """From the journal."""
    records = [
        {"record": "outage", "outage": "o1", "reason": "on-battery", "boot_id": "b0"},
        {"record": "mounts", "others": '["/mnt/media"]'},
    ]
    (tmp_path / "journal.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    daemon = started(tmp_path, '[nas]\nname = "nas"\nmount = "/mnt/nas"\nwatts = 18\n')
    back = daemon._conductor._performers[StepKind.WAIT_STORAGE]
    assert isinstance(back, WaitStorage)
    assert back.memory.others == {"/mnt/media"}
    daemon._journal.close()
