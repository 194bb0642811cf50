"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure, and a failure prints what reproduces it.
settings.register_profile("upsd", deadline=None, print_blob=True)
settings.load_profile("upsd")
