"""What the README and the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IN_REPOSITORY = re.compile(
    r"(?<![\w/])(?:config|docs|hardware_sim|systemd|tests|upsd)/[\w./*-]*|\.[\w-]+\.lock|\.importlinter"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    """A reader who follows the text finds what it promises."""
    text = document.read_text(encoding="utf-8")
    named = {match for code in re.findall(r"`([^`\n]+)`", text) for match in IN_REPOSITORY.findall(code)}
    named |= {str((document.parent / link).relative_to(ROOT)) for link in re.findall(r"\]\((?!http)([^)#]+)\)", text)}
    topics = {name for name in named if name.startswith("upsd/iplug")}
    missing = [name for name in sorted(named - topics) if not any(ROOT.glob(name.rstrip("/")))]
    assert missing == []


def test_every_target_of_the_makefile_is_described() -> None:
    """`make` alone lists what there is."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony
    assert {name for name in phony[1].split() if not re.search(rf"^{name}:.*## ", text, re.MULTILINE)} == set()
