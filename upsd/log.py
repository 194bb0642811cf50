"""Where do log lines go, and in which form?

Always to standard error, one line each: coloured columns on a terminal, logfmt with an sd-daemon priority under
journald (which keeps the time itself), JSON lines otherwise. What the libraries log through `logging` takes the
same way, from WARNING on. A log that can't be written is lost rather than a reason to stop.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Literal

import structlog
from structlog.stdlib import ProcessorFormatter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from structlog.typing import EventDict, Processor, WrappedLogger

Form = Literal["console", "journal", "json"]

SECRET = re.compile("password|secret|token|credential|private_key", re.IGNORECASE)
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

_logfmt = structlog.processors.LogfmtRenderer(key_order=["event"], bool_as_flag=False)


def configure(
    level: str = "info",
    form: str = "auto",
    *,
    stream: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Set up structlog and `logging` for the whole process.

    Args:
        level: The least level of ours to show: debug, info, warning, error or critical.
        form: console or json; auto chooses by what the stream is.
        stream: Where the lines go; standard error unless told.
        environment: Where JOURNAL_STREAM and NO_COLOR are looked up.
    """
    stream = stream or sys.stderr
    chosen = _form(form, stream, environment)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        hide_secrets,
        structlog.processors.format_exc_info,
    ]
    if chosen != "journal":
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    colours = stream.isatty() and not environment.get("NO_COLOR")
    renderers: dict[Form, Processor] = {
        "console": structlog.dev.ConsoleRenderer(colors=colours),
        "journal": render_for_journal,
        "json": structlog.processors.JSONRenderer(default=str),
    }

    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            processors=[ProcessorFormatter.remove_processors_meta, renderers[chosen]],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.raiseExceptions = False
    ours = logging.getLogger("upsd")
    ours.setLevel(logging.DEBUG)
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: ours,
    )


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the value of every field whose name sounds like a secret's."""
    return {key: "***" if SECRET.search(key) else value for key, value in event.items()}


def render_for_journal(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """One logfmt line that begins with the priority as sd-daemon(3) wants it."""
    priority = PRIORITIES.get(event.pop("level", "info"), PRIORITIES["info"])
    return f"<{priority}>{_logfmt(logger, method, event)}"


def _form(wanted: str, stream: TextIO, environment: Mapping[str, str]) -> Form:
    match wanted:
        case "console" | "json":
            return wanted
        case "auto" if _is_journal(stream, environment):
            return "journal"
        case "auto":
            return "console" if stream.isatty() else "json"
        case _:
            raise ValueError(f"log form {wanted!r}: one of auto, console, json")


def _is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether the stream is the very one that systemd connected to the journal, see systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
