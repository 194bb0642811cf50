"""Adapters to the machines of the rack: the ways in which `upsd.domain.rack` meets the real world."""

import sys

# The API server is spoken to in HTTP/1.1. HTTP/2 comes with lightkube and would take 1.2 MiB of a daemon that shall be
# small; Python's way to call a module absent is None in its place, and httpcore2 does without.
sys.modules["h2"] = None  # type: ignore[assignment]
