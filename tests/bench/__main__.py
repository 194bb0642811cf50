"""`python -m tests.bench`: measure, and print one line `name value unit` for each figure."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.daemon import as_installed
from tests.bench.drain import measure_drain
from tests.bench.footprint import measure_footprint
from tests.bench.latency import measure_latency
from tests.bench.plan import measure_plan

_MEASURES = {
    "drain": measure_drain,
    "footprint": measure_footprint,
    "latency": measure_latency,
    "plan": measure_plan,
}


def _compile(directory: Path) -> None:
    """As after an installation: a daemon that compiles its modules first needs a sixth more memory for good."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "pycache")
    # The way to the cluster imports much of itself when it is made, and the rest when it is used.
    way = "httpx2.AsyncHTTPTransport(); anyio.run(anyio.sleep, 0)"
    load = f"import upsd.daemon, hardware_sim.usb_backend, anyio, httpx2; {way}"
    for environment in ({}, as_installed(directory)):
        subprocess.run([sys.executable, "-c", load], check=True, env={**os.environ, **environment})


def main() -> None:
    """Measure what is asked for, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("measure", nargs="?", choices=_MEASURES, help="only this")
    wanted = parser.parse_args().measure
    with tempfile.TemporaryDirectory(prefix="upsd-bench-") as directory:
        _compile(Path(directory))
        for name, measure in _MEASURES.items():
            if wanted in {None, name}:
                (Path(directory) / name).mkdir()
                asyncio.run(measure(Path(directory) / name))


if __name__ == "__main__":
    main()
