"""What outlives the daemon of its readiness: the ledger of proofs, and whether it is armed. Two small files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from upsd.files import sync_directory, write_whole
from upsd.shutdown.ledger import Ledger, from_document, to_document

if TYPE_CHECKING:
    from pathlib import Path

LEDGER_FILE = "ledger.json"
ARMED_FILE = "armed.json"


@dataclass(frozen=True, slots=True)
class Arming:
    """Who armed the daemon, when (ISO 8601), and for which settings; `None` is not known."""

    uid: int | None = None
    at: str | None = None
    fingerprint: str | None = None


def load_ledger(directory: Path) -> tuple[Ledger, str | None]:
    """The ledger, and what is wrong with its file, for a person; one that makes no sense is put aside."""
    path = directory / LEDGER_FILE
    try:
        return from_document(json.loads(path.read_text(encoding="utf-8"))), None
    except FileNotFoundError:
        return Ledger(), None
    except OSError as error:
        return (
            Ledger(),
            f"{path} can't be read ({error.strerror}), so no step counts as proven: mend that, and rehearse",
        )
    except (ValueError, RecursionError) as error:
        aside = path.with_suffix(".bad")
        try:
            path.replace(aside)
        except OSError:
            aside = path
        return Ledger(), f"the ledger of proofs makes no sense ({error}); it is kept as {aside}: run upsctl rehearse"


def save_ledger(directory: Path, ledger: Ledger) -> None:
    """Write it in place of the one before; raises `OSError`."""
    _save(directory / LEDGER_FILE, to_document(ledger))


def load_arming(directory: Path) -> tuple[Arming | None, str | None]:
    """Whether and how the daemon is armed, and what is wrong with the file that says so.

    A file that is there and can't be understood means armed: a torn one must not let the rack die in an outage.
    """
    path = directory / ARMED_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Arming(**{name: found.get(name) for name in ("uid", "at", "fingerprint")}), None
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return Arming(), f"{path} can't be understood ({error}), so upsd takes itself for armed: run upsctl arm again"


def save_arming(directory: Path, arming: Arming | None) -> None:
    """Write it, or take it away; raises `OSError`."""
    path = directory / ARMED_FILE
    if arming is not None:
        _save(path, asdict(arming))
        return
    path.unlink(missing_ok=True)
    sync_directory(directory)


def _save(path: Path, document: dict[str, Any]) -> None:
    write_whole(path, json.dumps(document, indent=1) + "\n")
