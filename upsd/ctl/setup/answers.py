"""The file of answers: read with every fault named, and written so that the next run, or a second rack, can use it."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import TYPE_CHECKING, Any

from upsd.ctl.setup.outcome import SetupError
from upsd.ctl.setup.questions import NODE, NONE, QUESTIONS, Question, Value
from upsd.settings_problems import closest_to, dotted, toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from upsd.settings_problems import Key

Answers = dict["Key", Value]
"""What was answered, by key."""

_HEAD = """\
# What `upsctl setup` was answered. The next run takes these answers for its defaults. For another rack like this one:
#     upsctl setup --yes --answers FILE
"""


def read_answers(path: Path) -> Answers:
    """The answers in the file, each of them checked.

    Raises:
        SetupError: there is no such file, or something in it is wrong; each line says which key, and what is right.
    """
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise SetupError(f"{path} can't be read ({error.strerror}); name a file of answers that is there") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: no valid TOML: {error}") from None
    answers: Answers = {}
    problems = []
    for key, value in _leaves(tables):
        try:
            answers[key] = _checked(key, value)
        except ValueError as error:
            problems.append(f"{path}: {dotted(key)}: {error}")
    if problems:
        raise SetupError("\n".join(problems))
    return answers


def kept_answers(path: Path) -> Answers:
    """Those of the former run; none, if there was none or if they are of no use any more."""
    try:
        return read_answers(path)
    except SetupError:
        return {}


def answers_text(values: Mapping[Key, Value]) -> str:
    """The file for these answers, without those that count for one run only."""
    values = {key: value for key, value in values.items() if not _question_of(key).once}
    tables: dict[Key, list[str]] = {(): []}
    for *table, name in sorted(values, key=lambda key: (len(key) > 1, key[:-1])):
        line = f"{name} = {_written(values[*table, name])}"
        tables.setdefault(tuple(table), []).append(line)
    parts = [
        "\n".join([*([f"[{dotted(table)}]"] if table else []), *lines]) for table, lines in tables.items() if lines
    ]
    return _HEAD + "".join(f"\n{part}\n" for part in parts)


def typed(value: Value) -> str:
    """The value as a person would type it."""
    match value:
        case None:
            return NONE
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
    return str(value)


def _written(value: Value) -> str:
    return toml(NONE if value is None else value)


def _leaves(table: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _checked(key: Key, value: object) -> Value:
    """The answer, as its question reads it.

    Raises:
        ValueError: nobody asks for it, or it is no answer.
    """
    question = _question_of(key)
    if not isinstance(value, str | bool | int | float | date):
        raise ValueError("must be one value")  # noqa: TRY004 - one kind of error for all that is wrong with an answer
    return question.read(value.isoformat() if isinstance(value, date) else typed(value))


def _question_of(key: Key) -> Question:
    """The question whose answer stands under this key.

    Raises:
        ValueError: there is none.
    """
    found = next((question for question in QUESTIONS if _fits(question, key)), None)
    if found is None:
        raise ValueError(f"no such answer; {_right_key(key)}")
    return found


def _fits(question: Question, key: Key) -> bool:
    return len(question.key) == len(key) and all(
        part in {NODE, given} for part, given in zip(question.key, key, strict=True)
    )


def _right_key(key: Key) -> str:
    beside = [question.key for question in QUESTIONS if len(question.key) == len(key)]
    known = [str(other[-1]) for other in beside if other[0] == key[0] or len(key) == 1]
    closest = closest_to(str(key[-1]), known)
    if closest:
        return f"did you mean {closest}?"
    return f"there are: {', '.join(known)}" if known else "see config/setup-answers.toml for those that there are"
