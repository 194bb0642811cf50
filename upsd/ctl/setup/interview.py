"""Where answers come from: a file, the former run, a person at the terminal, or the default that setup found out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from upsd.ctl.setup.answers import typed
from upsd.ctl.setup.outcome import SetupError, StoppedError
from upsd.ctl.words import plain
from upsd.settings_problems import dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upsd.ctl.setup.questions import Question, Value
    from upsd.settings_problems import Key

    Paint = Callable[[str, str], str]


class Interview:
    """One run's questions and answers.

    Args:
        given: answers that are not asked for any more.
        former: those of the former run, which are the defaults.
        attended: whether a person sits there; without one, every question takes its default.
        paint: gives a text a colour.
    """

    def __init__(
        self, given: Mapping[Key, Value], former: Mapping[Key, Value], *, attended: bool, paint: Paint
    ) -> None:
        self._given = given
        self._former = former
        self._paint = paint
        self.attended = attended
        self.taken: dict[Key, Value] = {}
        """Every answer so far."""

    def knows(self, question: Question) -> bool:
        """Whether it was answered before: in the file, or in the former run."""
        return question.key in self._given or question.key in self._former

    def proposal(self, question: Question, default: Value) -> Value:
        """The answer if nobody says otherwise now."""
        return self._given.get(question.key, self._former.get(question.key, default))

    def given_about(self, table: str) -> set[str]:
        """The machines that the file has answers about, in this table."""
        return {str(key[1]) for key in self._given if key[0] == table and len(key) == 3}

    def answer(self, question: Question, default: Value = None, *, needed: bool = False, asks: bool = True) -> Value:
        """The answer, from wherever it comes.

        Args:
            question: what to know.
            default: what is the answer unless somebody says otherwise.
            needed: there is no answer without somebody's word, whatever `default` is.
            asks: whether a person is asked; else that person has agreed to the default.

        Raises:
            SetupError: it is missing, and nobody can be asked.
            StoppedError: the person hung up.
        """
        known = self.knows(question)
        value = self.proposal(question, default)
        if question.key not in self._given and self.attended and asks:
            value = self._asked(question, None if needed and not known else typed(value))
        elif needed and not known:
            raise SetupError(f"{dotted(question.key)} is missing in the answers: {question.text} {question.why}")
        self.taken[question.key] = value
        return value

    def agrees(self, question: Question, *, default: bool = True) -> bool:
        """Whether the answer is yes."""
        return bool(self.answer(question, default))

    def confirms(self, text: str) -> bool:
        """Whether a person takes what was shown; nobody else is asked, and it is no answer to keep."""
        return not self.attended or self._line(f"  {text} [yes] ").lower() in {"", "y", "yes"}

    def _asked(self, question: Question, proposal: str | None) -> Value:
        print(f"\n  {self._paint(plain(question.text), 'bold')}\n    {question.why}")
        while True:
            shown = "" if proposal is None else f"[{plain(proposal)}] "
            line = self._line(f"  {shown}> ") or proposal or ""
            try:
                return question.read(line)
            except ValueError as error:
                print(f"    {self._paint(f'That {error}.', 'yellow')}")

    def _line(self, prompt: str) -> str:
        sys.stdout.flush()
        try:
            return input(prompt).strip()
        except EOFError:
            raise StoppedError from None
