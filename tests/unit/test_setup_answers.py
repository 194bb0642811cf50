"""The file of answers: complete as an example, exact about every fault, and the same after a round trip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from upsd.ctl.setup.answers import answers_text, kept_answers, read_answers
from upsd.ctl.setup.outcome import SetupError
from upsd.ctl.setup.questions import NODE, QUESTIONS

if TYPE_CHECKING:
    from upsd.ctl.setup.answers import Answers
    from upsd.settings_problems import Key

EXAMPLE = Path(__file__).parents[2] / "config" / "setup-answers.toml"


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "answers.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _general(key: Key) -> Key:
    return (key[0], NODE, key[2]) if len(key) == 3 else key


def test_the_example_has_every_answer_and_no_other(tmp_path: Path) -> None:
    """With the comment signs away it is a file that setup takes."""
    text = re.sub(r"^# (?=[a-z_]+ = )", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    answers = read_answers(_written(tmp_path, text))
    assert {_general(key) for key in answers} == {question.key for question in QUESTIONS}


def test_the_example_is_valid_as_it_stands() -> None:
    """Whoever only changes the names may use it."""
    assert read_answers(EXAMPLE)["workers", "pi4-a", "watts"] == 7


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[workers.pi4-a]\nwats = 7", "workers.pi4-a.wats: no such answer; did you mean watts?"),
        ("[workers.pi4-a]\nwatts = 'much'", "workers.pi4-a.watts: must be a number, not text; for example watts = 7"),
        ("[workers.pi4-a]\nmac = 'x'", "workers.pi4-a.mac: is no MAC address; write it like dc:a6:32:01:02:03"),
        ("rehearse = 'perhaps'", "rehearse: must be yes or no"),
        ("[battery]\ninstalled = 'May'", "battery.installed: must be a date"),
        ("[mqtt]\nhost = []", "mqtt.host: must be one value"),
        ("[router]\nx = 1", "router.x: no such answer; see config/setup-answers.toml for those that there are"),
        ("rehearse = ", "no valid TOML"),
    ],
)
def test_a_fault_is_named_with_its_key(tmp_path: Path, text: str, complaint: str) -> None:
    """And with what would be right."""
    path = _written(tmp_path, text)
    with pytest.raises(SetupError) as caught:
        read_answers(path)
    assert str(caught.value).startswith(f"{path}: {complaint}"[:60])
    assert complaint in str(caught.value)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    """So that nobody mends them one by one."""
    with pytest.raises(SetupError) as caught:
        read_answers(_written(tmp_path, "x = 1\n[ups]\nport = 'com1'"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """It was named by somebody."""
    with pytest.raises(SetupError, match="can't be read"):
        read_answers(tmp_path / "none.toml")


def test_what_was_kept_reads_as_it_was_answered(tmp_path: Path) -> None:
    """Numbers, names with dots, and what there is none of."""
    answers: Answers = {
        ("rehearse",): True,
        ("workers", "pi4.lan", "watts"): 7.5,
        ("workers", "pi4.lan", "mac"): None,
        ("ups", "port"): "usb:1-4",
    }
    assert kept_answers(_written(tmp_path, answers_text(answers))) == answers


def test_consent_is_not_kept(tmp_path: Path) -> None:
    """It was given to one run, and to what that run would do."""
    answers: Answers = {("replace_settings",): True, ("accept_new_host_keys",): True, ("ups", "go_on_without"): True}
    assert kept_answers(_written(tmp_path, answers_text(answers))) == {}


def test_kept_answers_that_are_of_no_use_are_none(tmp_path: Path) -> None:
    """A damaged file keeps nobody from being asked anew."""
    assert kept_answers(_written(tmp_path, "= nonsense")) == {}
