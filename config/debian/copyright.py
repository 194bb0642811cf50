"""Whose work is in the package, and on which terms."""

from __future__ import annotations

import re
from pathlib import Path

_LICENCE = Path(__file__).parents[2] / "LICENSE"
_FULL_APACHE = re.compile(
    r"^ *Apache License\n *Version 2\.0.*?END OF TERMS AND CONDITIONS\n", re.MULTILINE | re.DOTALL
)
_APACHE = "The Apache License, version 2.0: /usr/share/common-licenses/Apache-2.0 on Debian systems.\n"


def copyright_text(licences: dict[str, str]) -> str:
    """Ours, then that of each package in /usr/lib/upsd, in its own words."""
    parts = ["upsd\n====\n\n" + _LICENCE.read_text(encoding="utf-8")]
    parts += [
        f"{name} (in /usr/lib/upsd)\n{'=' * (len(name) + 19)}\n\n{_shortened(text)}" for name, text in licences.items()
    ]
    return "\n\n".join(parts)


def _shortened(text: str) -> str:
    """Without the long texts that every Debian system has."""
    return _FULL_APACHE.sub(_APACHE, text)
