"""`python -m debian DIRECTORY`: put the package there."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from debian.archive import build
from debian.tree import lay_out
from debian.vendor import VendorError


def main() -> int:
    """Build it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m debian", description="Builds the Debian package, without root.")
    parser.add_argument("directory", type=Path, help="where the package goes")
    directory: Path = parser.parse_args().directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="upsd-deb-") as root:
        try:
            lay_out(Path(root))
            print(build(Path(root), directory))
        except (VendorError, subprocess.CalledProcessError) as error:
            print(f"the package was not built: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
