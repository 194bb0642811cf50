"""What is wrong with settings, in sentences: `what is wrong; what would be right`.

Pydantic says what it found against a schema; a person wants to know which key of which file to change, and to
what. Values are left out where a secret could stand in the wrong place.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

EXIT_CONFIG = 78
"""The exit code for settings that can't be used (`EX_CONFIG` of sysexits.h)."""

Key = tuple[str | int, ...]

_NEEDED = {
    "bool": "true or false",
    "date": "a date",
    "dict": "a table",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "model": "a table",
    "path": "a path in quotes",
    "string": "text in quotes",
    "tuple": "a list",
}
_BOUNDS = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
}


class SettingsError(Exception):
    """The settings can't be used; each of `problems` is one line for the person who wrote them."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def problems_of(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Key, str]]:
    """Each problem that validation found, as the key it is about and a sentence."""
    for details in error.errors(include_url=False):
        # A default that follows from another key is not called while that key is wrong; that key has its own line.
        if details["type"] != "default_factory_not_called":
            yield details["loc"], _sentence(details, model)


def read_value(model: type[BaseModel], name: str, value: object) -> Any:
    """What the field of the model makes of a value that stands alone.

    Raises:
        ValueError: It makes nothing of it; the text says why and what would be right.
    """
    try:
        return TypeAdapter(model.model_fields[name].rebuild_annotation()).validate_python(value)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        raise ValueError(_sentence({**details, "loc": (name,)}, model)) from None


def dotted(key: Key) -> str:
    """The key as a person would name it: `workers.1.name`."""
    return ".".join(part if _is_bare(part) else json.dumps(part) for part in map(str, key))


def table_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that holds a table, an optional table or a list of tables; else `None`."""
    candidates = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def is_list_of_tables(field: FieldInfo) -> bool:
    """Whether the field is written as `[[name]]`."""
    return table_of(field) is not None and ... in get_args(field.annotation)


def closest_to(name: str, known: list[str]) -> str | None:
    """The known name that an unknown one was probably meant to be."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def toml(value: object) -> str:
    """A default or an example as it stands in a TOML file."""
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


def _sentence(details: ErrorDetails, model: type[BaseModel]) -> str:
    key, kind, context = details["loc"], details["type"], details.get("ctx", {})
    owner = _owner(key, model)
    name = str(key[-1])
    if kind == "extra_forbidden":
        known = list(owner.model_fields)
        closest = closest_to(name, known)
        return "no such key; " + (f"did you mean {closest}?" if closest else f"there are: {', '.join(known)}")
    if kind == "value_error":
        return str(context["error"])
    if kind in {"too_short", "string_too_short"}:
        return f"is empty; write at least one {'word' if kind == 'too_short' else 'character'}"
    example = _example(name, owner.model_fields[name]) if name in owner.model_fields else None
    if kind == "missing":
        return f"is missing; add it, for example {example}"
    right = f"; for example {example}" if example else ""
    if kind in _BOUNDS:
        return f"must be {_BOUNDS[kind].format(**context).replace(chr(39), chr(34))}{right}"
    needed = _NEEDED.get(kind.partition("_")[0])
    return f"must be {needed}, not {_kind_of(details['input'])}{right}" if needed else details["msg"]


def _owner(key: Key, model: type[BaseModel]) -> type[BaseModel]:
    """The model that the last part of the key is a field of."""
    for part in key[:-1]:
        field = model.model_fields.get(str(part))
        model = (field and table_of(field)) or model
    return model


def _example(name: str, field: FieldInfo) -> str | None:
    """The field as it could stand in the file: its example, or else its default."""
    if table := table_of(field):
        required = [key for key, inner in table.model_fields.items() if inner.is_required()]
        header = f"[[{name}]]" if is_list_of_tables(field) else f"[{name}]"
        return f"{header} with {' and '.join(required)}"
    value = field.examples[0] if field.examples else field.default
    if value is None or value is PydanticUndefined:
        return None
    return f"{name} = {toml(value)}"


def _kind_of(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int():
            return "a number"
        case float():
            return "a number" if value.is_integer() else "a number with a fraction"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


def _is_bare(part: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]+", part) is not None
