"""What holds for all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# A busy machine is no failure, and a failure prints what reproduces it.
settings.register_profile("upsd", deadline=None, print_blob=True)
settings.load_profile("upsd")

# Each program that a test starts would compile all of its modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell lets its background jobs ignore Ctrl-C, and what they start ignores it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
