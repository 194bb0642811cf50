"""`upsctl ups bench`: the guided test of a UPS, at a terminal, with the daemon's own code in place of the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upsd import adapters
from upsd import log as logs
from upsd.ctl import client
from upsd.settings import EXIT_CONFIG, SettingsError, load_settings
from upsd.ups import profile as profiles
from upsd.ups.bench import Bench
from upsd.ups.bench_steps import STEPS
from upsd.ups.errors import UpsError
from upsd.ups.usb_port import UsbTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from upsd.settings import Settings
    from upsd.ups.bench import Person

OK, FAILED = 0, 1
RECORD_FILE = "ups-bench.jsonl"
INTRODUCTION = """\
This finds out what your UPS really does, step by step. Before each step you are told what will happen and asked.

  - Take your rack off the UPS. Put a lamp on its outlets, and nothing else.
  - This machine must have its power from elsewhere.
  - upsd must be stopped: systemctl stop upsd

Answer with y or n, or with q to stop; until the end nothing is changed.
"""


class StoppedError(Exception):
    """The person has had enough, or hung up."""


class Terminal:
    """The person at this terminal."""

    async def agrees(self, question: str) -> bool:
        """Ask until the answer is plain."""
        while True:
            answer = (await _line(f"{question} [y/n/q] ")).strip().lower()
            if answer in {"y", "yes"}:
                return True
            if answer in {"n", "no"}:
                return False
            if answer in {"q", "quit"}:
                raise StoppedError

    async def does(self, instruction: str) -> None:
        """Ask for it, and wait for the Enter key."""
        await _line(f"{instruction} Then press Enter. ")

    def tell(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)


def run(config: str) -> int:
    """Run the test; the exit status."""
    try:
        settings = load_settings(Path(config), os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    if reason := _why_not(settings):
        print(f"upsctl: {reason}", file=sys.stderr)
        return FAILED
    logs.configure("error", "console")
    try:
        return asyncio.run(_bench(settings))
    except StoppedError:
        print("\nStopped: nothing is changed.", file=sys.stderr)
    except (UpsError, OSError) as error:
        print(f"upsctl: {error}", file=sys.stderr)
    return FAILED


def _why_not(settings: Settings) -> str | None:
    """What has to be done before the test can begin."""
    with contextlib.suppress(client.NoDaemonError):
        client.ask(str(settings.control.socket), "status")
        return "upsd is running and holds the UPS; stop it first: systemctl stop upsd"
    if not os.access(settings.state_directory, os.W_OK | os.X_OK):
        return f"there is no directory {settings.state_directory} that you may write to; run this as: sudo -u upsd ..."
    return None


async def _bench(settings: Settings) -> int:
    person = Terminal()
    person.tell(INTRODUCTION)
    if not await person.agrees("Is all of that so?"):
        raise StoppedError
    directory = settings.state_directory
    before = profiles.load_profile(directory)
    with (directory / RECORD_FILE).open("a", encoding="utf-8") as file:
        profile = await measure(settings, person, _recorder(file))
    if profile.found_the_same_as(before):
        person.tell("\nNothing new was found out: nothing is changed.")
        return OK
    profiles.save(directory, profile)
    person.tell(f"\nThe profile is in {directory / profiles.PROFILE_FILE}: upsd uses it from its next start on.")
    person.tell(f"What happened in detail is in {directory / RECORD_FILE}.")
    return OK


async def measure(
    settings: Settings, person: Person, record: Callable[[Mapping[str, Any]], None]
) -> profiles.DeviceProfile:
    """The profile that the test makes."""
    transport = adapters.ups_transport(settings.ups, None)
    driver = adapters.ups_driver(settings.ups, transport, known=profiles.load_known(settings.state_directory))
    pause = transport.send_with_pause if isinstance(transport, UsbTransport) else None
    try:
        bench = Bench(driver, person, record=record, send_with_pause=pause)
        before = profiles.load_profile(settings.state_directory)
        return await bench.run(STEPS, datetime.now(UTC).date().isoformat(), before)
    finally:
        await driver.close()
        transport.shutdown()


def _recorder(file: TextIO) -> Callable[[Mapping[str, Any]], None]:
    def record(entry: Mapping[str, Any]) -> None:
        file.write(json.dumps(entry) + "\n")
        file.flush()

    return record


async def _line(prompt: str) -> str:
    try:
        return await asyncio.to_thread(input, prompt)
    except EOFError:
        raise StoppedError from None
