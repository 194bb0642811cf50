"""`python -m upsd.snapshot OUTAGE`: take a snapshot as the [datastore] table says, and write down how that went.

For `rehearsal` in place of an outage's name everything is done, and nothing is kept: the copy is made, checked and
removed; k3s is asked for its list.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from upsd.files import write_whole
from upsd.settings_datastore import DatastoreSettings
from upsd.settings_problems import EXIT_CONFIG
from upsd.snapshot import etcd
from upsd.snapshot.errors import SnapshotError
from upsd.snapshot.keep import file_name, superfluous
from upsd.snapshot.sqlite import copy_database

if TYPE_CHECKING:
    from collections.abc import Sequence

REHEARSAL = "rehearsal"


def main(arguments: Sequence[str] | None = None) -> int:
    """Take it; the exit code."""
    parser = argparse.ArgumentParser(prog="upsd.snapshot", description="Takes a snapshot of the k3s datastore.")
    parser.add_argument("outage", help=f"the name of the outage, or {REHEARSAL}")
    parser.add_argument("--config", type=Path, default=Path("/etc/upsd/upsd.toml"))
    parser.add_argument("--result", type=Path, default=Path("/run/upsd-snapshot/result.json"))
    asked = parser.parse_args(arguments)
    try:
        datastore = read_settings(asked.config)
    except SnapshotError as error:
        write_result(asked.result, asked.outage, problem=str(error))
        return EXIT_CONFIG
    try:
        detail = take(datastore, asked.outage)
    except SnapshotError as error:
        write_result(asked.result, asked.outage, problem=str(error))
        return 1
    write_result(asked.result, asked.outage, detail=detail)
    return 0


def read_settings(path: Path) -> DatastoreSettings:
    """The [datastore] table of upsd's settings.

    Raises:
        SnapshotError: It can't be read, or is wrong.
    """
    try:
        with path.open("rb") as file:
            return DatastoreSettings.model_validate(tomllib.load(file)["datastore"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, ValidationError) as error:
        raise SnapshotError(f"{path} has no [datastore] that can be used; run upsctl config check") from error


def take(datastore: DatastoreSettings, outage: str) -> str:
    """Take the snapshot and remove what is superfluous; what there is now, for a person.

    Raises:
        SnapshotError: There is no new one, and nothing was removed.
    """
    directory, rehearsed = datastore.directory, outage == REHEARSAL
    if datastore.kind == "etcd":
        if rehearsed:
            etcd.check(directory)
            return "k3s lists the snapshots of etcd, so it can take one"
        etcd.save(outage, directory, datastore.keep)
        return f"etcd's snapshot upsd-{outage} is in {directory}"
    target = directory / file_name(outage)
    size = copy_database(datastore.path, target)
    if rehearsed:
        target.unlink()
        return f"a copy of {size / 2**20:.1f} MiB was made in {directory}, was whole, and is removed"
    for name in superfluous([path.name for path in directory.iterdir()], datastore.keep):
        (directory / name).unlink(missing_ok=True)
    return f"{target} has {size / 2**20:.1f} MiB and is whole"


def write_result(path: Path, outage: str, *, detail: str = "", problem: str = "") -> None:
    """Say how it went to the daemon, which is another user, and to the log."""
    print(problem or detail, file=sys.stderr)
    write_whole(path, json.dumps({"outage": outage, "detail": detail, "problem": problem}))
    path.chmod(0o644)


if __name__ == "__main__":
    sys.exit(main())
