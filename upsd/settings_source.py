"""Where settings come from: the TOML file, `UPSD_*` variables, systemd credentials; and which one gave what."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_settings import BaseSettings, EnvSettingsSource, TomlConfigSettingsSource
from pydantic_settings import SettingsError as UnreadableValueError

from upsd.settings_problems import Key, SettingsError, closest_to, dotted, is_list_of_tables, table_of
from upsd.settings_types import Variable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

PREFIX = "UPSD_"
_NOT_SETTINGS = re.compile(r"UPSD_CONFIG|UPSD_SIM_.*")
_CREDENTIALS = {
    "upsd_mqtt_password": ("mqtt", "password_file"),
    "upsd_ssh_key": ("ssh", "key_file"),
    "upsd_kubeconfig": ("kubernetes", "kubeconfig"),
}


@dataclass(frozen=True, slots=True)
class Sources:
    """The settings as they were written, not validated yet, and where each that is not in the file was found."""

    path: Path
    values: dict[str, Any]
    origins: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, key: Key) -> str:
        """The file (or other source) and the key in it, as a problem's line begins."""
        for length in range(len(key), 0, -1):
            if origin := self.origins.get(key[:length]):
                return origin if length == len(key) else f"{origin}: {dotted(key[length:])}"
        return f"{self.path}: {dotted(key)}"


def collect(model: type[BaseSettings], path: Path, environment: Mapping[str, str]) -> Sources:
    """Everything that was written down for `model`: the file, above it the environment, then credentials.

    Raises:
        SettingsError: The file can't be read.
    """
    sources = Sources(path, _read_toml(model, path))
    _apply_environment(sources, model, environment)
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        _apply_credentials(sources, Path(directory))
    return sources


def read_secret(path: Path) -> str:
    """The text of a file that holds one secret, without the newline at its end.

    Raises:
        ValueError: There is no secret to be had; the message says why and what to do.
    """
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; create it with the password on its only line") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ValueError(f"{path} can't be read ({reason}); make it a text file readable by upsd") from None
    if not secret:
        raise ValueError(f"{path} is empty; write the password on its only line")
    return secret


def _read_toml(model: type[BaseSettings], path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file():
            raise SettingsError(f"{path}: is not a file; name the settings file itself, such as upsd.toml")
        if not path.exists():
            raise SettingsError(f"{path}: no such file; copy config/upsd.toml there and adapt it")
        return TomlConfigSettingsSource(model, path)()
    except PermissionError:
        raise SettingsError(f"{path}: may not be read; make it readable with chown root:upsd and chmod 0640") from None
    except OSError as error:
        raise SettingsError(f"{path}: can't be read ({error.strerror}); check the disk and the path") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path}: line {line}: not UTF-8; save the file as UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).removesuffix(")").partition(" (at ")
        # Otherwise it says "end of document".
        found = re.match(r"line (\d+)", where)
        line = int(found[1]) if found else len(path.read_bytes().splitlines())
        raise SettingsError(
            f'{path}: line {line}: no valid TOML ({what}); write key = value, each key once, text in "quotes"'
        ) from None


def _apply_environment(sources: Sources, model: type[BaseSettings], environment: Mapping[str, str]) -> None:
    known = dict(_variables(model))
    reader = EnvSettingsSource(model, env_prefix=PREFIX.lower(), env_nested_delimiter="__")
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX) or _NOT_SETTINGS.fullmatch(name):
            continue
        if name not in known:
            sources.problems.append(f"environment: {name}: no such setting; {_right_variable(name, known)}")
            continue
        # One variable at a time, so that a value that is no JSON can be reported under its name.
        reader.env_vars = {name.lower(): value}
        try:
            _merge(sources.values, _as_variables(reader()))
            sources.origins[known[name]] = f"environment: {name}"
        except UnreadableValueError:
            sources.problems.append(f'environment: {name}: is not JSON; write a list such as ["a", "b"]')


def _as_variables(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _as_variables(value) if isinstance(value, dict) else Variable(value) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _apply_credentials(sources: Sources, directory: Path) -> None:
    """Point the settings at the credentials that systemd handed over.

    The password wins over every other one; a key or kubeconfig only over the default path.
    """
    sources.values.setdefault("ssh", {})
    for name, (section, key) in _CREDENTIALS.items():
        table = sources.values.get(section)
        if not isinstance(table, dict) or not (directory / name).is_file():
            continue
        if key == "password_file":
            table.pop("password", None)
            table.pop(key, None)
        if key not in table:
            table[key] = directory / name
            sources.origins[section, key] = f"credential: {name}"


def _variables(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, Key]]:
    """Each variable that sets something, and the key that it sets; lists of tables are set as a whole."""
    for name, info in model.model_fields.items():
        key = (*above, name)
        yield PREFIX + "__".join(key).upper(), key
        table = table_of(info)
        if table and not is_list_of_tables(info):
            yield from _variables(table, key)


def _right_variable(name: str, known: Mapping[str, Key]) -> str:
    parent = name.partition("__")[0]
    if parent in {"UPSD_WORKERS", "UPSD_LOADS"}:
        return f"write {parent} as one JSON list, or use the file"
    closest = closest_to(name.removeprefix(PREFIX), [variable.removeprefix(PREFIX) for variable in known])
    return f"did you mean {PREFIX}{closest}?" if closest else "remove it, or see config/upsd.toml for the names"


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value
