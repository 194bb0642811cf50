"""`python -IB -m upsd.ctl.bytecode`, by root after an installation: compile what the units run, as they run it.

In a unit nothing can be compiled, and uncompiled the daemon starts slowly. Beside ours and the libraries that is what
those take from Python's own modules, which Debian compiles for other flags.
"""

import subprocess
import sys
import sysconfig

# What is imported is compiled; the last three are what libraries import when they are first used.
_IMPORTS = """\
import upsd.daemon, upsd.snapshot, upsd.late, upsd.ctl.main
import anyio._backends._asyncio, encodings.idna, usb.backend.libusb1
"""


def unit_flags(prefix: str) -> list[str]:
    """Those of ExecStart= in the units of an installation: of other ones, nothing that was compiled would be used."""
    return ["-OO", "-X", "no_debug_ranges", "-X", f"pycache_prefix={prefix}/bytecode"]


def main() -> int:
    """Compile all of it; the exit code of what failed, which has said why."""
    python = [sys.executable, "-I", *unit_flags(sys.prefix)]
    for work in (["-B", "-m", "compileall", "-q", sysconfig.get_path("purelib")], ["-c", _IMPORTS]):
        code = subprocess.run([*python, *work], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
