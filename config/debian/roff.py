"""The little of roff that our manual pages need."""

from __future__ import annotations


def text(plain: str) -> str:
    """A line of running text, or a part of one, without anything that roff would take for its own."""
    escaped = plain.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def literal(plain: str) -> list[str]:
    """Lines that stay as they are, indented."""
    return [".RS 4", ".nf", *(text(line.strip()) for line in plain.strip("\n").splitlines()), ".fi", ".RE"]
