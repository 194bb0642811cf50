"""What the README and the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hardware_sim.ups.actions import markdown_table
from upsd.ups.trust import RULES

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


def test_the_actions_of_the_simulated_ups_are_those_of_the_document() -> None:
    """The table is what `python -m hardware_sim ups --actions` prints."""
    assert markdown_table() in (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_every_rule_that_doubts_a_figure_is_explained() -> None:
    """Who reads the name of a rule in an event finds there what it means."""
    text = (ROOT / "docs" / "ups.md").read_text(encoding="utf-8")
    assert [rule.__name__ for rule in RULES if rule.__name__.replace("_", " ") not in text] == []
