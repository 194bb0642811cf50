"""The example that people copy is complete, true and without fault."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from upsd.settings import MqttSettings, Settings, load_settings
from upsd.settings_advice import advise
from upsd.settings_problems import table_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

EXAMPLE = Path(__file__).parents[2] / "config" / "upsd.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")


def fields(model: type[BaseModel], table: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    """Each table and key that the settings have."""
    for name, field in model.model_fields.items():
        if inner := table_of(field):
            yield from fields(inner, f"{table}.{name}" if table else name)
        else:
            yield table, name, field


FIELDS = list(fields(Settings))


def lines_of(table: str) -> list[str]:
    """The lines of the example that belong to a table, commented out or not; of a list of tables, the first one."""
    parts = re.split(r"^(?:# )?\[+([\w.]+)\]+$", TEXT, flags=re.MULTILINE)
    return dict(reversed(list(zip(["", *parts[1::2]], parts[::2], strict=True))))[table].splitlines()


def shown(table: str, key: str) -> tuple[bool, object, str]:
    """Whether the key is commented out, its value, and the remark behind it."""
    pattern = re.compile(rf"(# )?({key} = (?:\"[^\"]*\"|\[[^\]]*\]|[^#]*?)) *(?:# (.*))?")
    (match,) = [match for line in lines_of(table) if (match := pattern.fullmatch(line))]
    return bool(match[1]), tomllib.loads(match[2])[key], match[3] or ""


def test_the_example_is_the_reference_rack() -> None:
    """It loads, unwise choices and all other machines absent."""
    settings = load_settings(EXAMPLE, {})
    assert advise(settings) == ()
    watts = {machine.name: machine.watts for machine in settings.machines}
    assert watts == {
        "k3s-master": 25,
        "pi4-a": 7,
        "pi4-b": 7,
        "pi3": 5,
        "bananapi": 6,
        "nas": 18,
        "switch": 8,
    }


@pytest.mark.parametrize(("table", "key", "field"), FIELDS, ids=[f"{table}.{key}" for table, key, _ in FIELDS])
def test_each_setting_is_explained_with_its_real_default(table: str, key: str, field: FieldInfo) -> None:
    """A required key stands there; another is commented with its default, or with a remark that tells it."""
    commented, value, remark = shown(table, key)
    position = next(i for i, line in enumerate(lines_of(table)) if re.match(rf"(# )?{key} = ", line))
    assert any(line.startswith("# ") and " = " not in line for line in lines_of(table)[:position])
    if field.is_required():
        assert commented == (re.search(rf"^# \[+{table}\]+$", TEXT, flags=re.MULTILINE) is not None)
    elif (table, key) == ("mqtt", "port"):
        assert value == MqttSettings(host="h").port
        assert remark == f"default with TLS: {MqttSettings(host='h', tls=True).port}"
    elif field.default is None:
        assert remark.startswith("default: ")
    elif remark:
        assert remark == f"default: {str(field.default).lower()}"
    else:
        assert when_uncommented(table, key, value) == field.default


def when_uncommented(table: str, key: str, value: object) -> object:
    """What the daemon makes of `value`."""
    model: type[BaseModel] | None = Settings
    for part in filter(None, table.split(".")):
        assert model is not None
        model = table_of(model.model_fields[part])
    assert model is not None
    required = {
        name: field.examples[0] if field.examples else {"name": "k3s-master", "watts": 25}
        for name, field in model.model_fields.items()
        if field.is_required()
    }
    return getattr(model.model_validate({**required, key: value}), key)


def test_a_key_that_does_not_exist_is_not_explained() -> None:
    """A setting that was renamed does not live on in the example."""
    known = {key for _, key, _ in FIELDS}
    assert set(re.findall(r"^(?:# )?([a-z_]+) = ", TEXT, flags=re.MULTILINE)) <= known
