"""What was learned of the battery, on disk: one JSON file that is written whole or not at all."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from upsd.files import write_whole
from upsd.ups.battery.history import BatteryHistory, decoded, encoded

if TYPE_CHECKING:
    from pathlib import Path

BATTERY_FILE = "battery.json"


class BatteryFileError(Exception):
    """The file could not be used; the text says what was wrong and where it was put."""


def load(directory: Path) -> BatteryHistory:
    """What is known from before; nothing if there is no file.

    Raises:
        BatteryFileError: it is damaged or foreign, and was put aside.
    """
    path = directory / BATTERY_FILE
    try:
        return decoded(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return BatteryHistory()
    except OSError as error:
        raise BatteryFileError(f"{path} can't be read: {error.strerror}; mend it, or remove it") from error
    except (ValueError, RecursionError) as error:
        aside = path.with_name(f"{BATTERY_FILE}.bad")
        with contextlib.suppress(OSError):
            path.replace(aside)
        raise BatteryFileError(
            f"{path} makes no sense ({error}): the battery is learned anew, and the file kept as {aside.name};"
            " mend it and put it back while upsd is stopped, or remove it"
        ) from error


def save(directory: Path, history: BatteryHistory) -> None:
    """Write it in place of the older one, and wait until it is on disk.

    Raises:
        OSError: it can't be written; the older one is still there.
    """
    write_whole(directory / BATTERY_FILE, json.dumps(encoded(history)) + "\n")
