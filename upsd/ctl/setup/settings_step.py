"""The fourth step: the settings, from what was found and answered, put in place only if the daemon would take them."""

from __future__ import annotations

import difflib
import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from upsd.ctl.setup import questions
from upsd.ctl.setup.conffile import is_as_packaged
from upsd.ctl.setup.document import Table, is_untouched, settings_text
from upsd.ctl.setup.machines import machine_tables
from upsd.ctl.setup.outcome import Outcome, SetupError, State
from upsd.ctl.setup.situation import write_for_the_daemon, write_secret_for_the_daemon
from upsd.ctl.system_files import shipped
from upsd.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from upsd.ctl.setup.situation import Situation

_EXAMPLE = "config/upsd.toml"
_API_PORT = 6443
_PASSWORD_FILE = "mqtt_password"  # noqa: S105 -- the name of a file


def look(situation: Situation) -> None:
    """See whether there are settings that somebody has written, and whether they shall stay as they are.

    Raises:
        SetupError: they shall, and they are not valid.
    """
    text = _text_at(situation.path)
    if text is None or is_untouched(text) or text == shipped(_EXAMPLE) or is_as_packaged(situation.path, text):
        return
    print(f"\n{situation.path} was written or changed by hand.")
    if situation.interview.agrees(questions.REPLACE_SETTINGS, default=False):
        return
    situation.keeps_settings = True
    _load(situation)


def write(situation: Situation) -> Outcome:
    """Ask for what is not known, and write the settings, unless they stay as they are."""
    if situation.keeps_settings:
        return Outcome(State.NOTHING_TO_DO, f"{situation.path} stays as it is, as you wish; it is valid")
    text = settings_text(_tables(situation))
    before = _text_at(situation.path)
    if text == before:
        _load(situation)
        return Outcome(State.NOTHING_TO_DO, f"{situation.path} is as you want it")
    if before is not None:
        _show_difference(situation, before, text)
    kept = _put_in_place(situation, before, text)
    return Outcome(State.DONE, f"wrote {situation.path}" + (f"; what was there is {kept}" if kept else ""))


def _tables(situation: Situation) -> list[Table]:
    ups = Table("[ups]", "", {"port": situation.ups_port})
    machines = machine_tables(situation)
    battery = _battery(situation)
    return [ups, *battery, *_kubernetes(situation, str(machines[0].values["name"])), *machines, *_mqtt(situation)]


def _battery(situation: Situation) -> list[Table]:
    answer = situation.interview.answer
    values = {
        "capacity_ah": answer(questions.BATTERY_CAPACITY),
        "voltage_v": answer(questions.BATTERY_VOLTAGE),
        "installed": answer(questions.BATTERY_INSTALLED),
    }
    if all(value is None for value in values.values()):
        return []
    return [Table("[battery]", "From its label; where a key is missing, what the UPS says of itself.", values)]


def _kubernetes(situation: Situation, master: str) -> list[Table]:
    if situation.admin_kubeconfig is None:
        return []
    others = [node.address for node in situation.nodes if node.is_server and node.name != master]
    servers = [f"https://{address}:{_API_PORT}" for address in ("127.0.0.1", *others)] if others else None
    return [Table("[kubernetes]", "With the rights of config/k3s/upsd-rbac.yaml.", {"servers": servers})]


def _mqtt(situation: Situation) -> list[Table]:
    interview = situation.interview
    host = interview.answer(questions.MQTT_HOST)
    if host is None:
        return []
    tls = interview.agrees(questions.MQTT_TLS, default=False)
    username = interview.answer(questions.MQTT_USERNAME)
    values: dict[str, object] = {"host": host, "tls": tls or None, "username": username}
    if username is not None:
        default = str(situation.path.with_name(_PASSWORD_FILE))
        path = Path(str(interview.answer(questions.MQTT_PASSWORD_FILE, default)))
        values["password_file"] = str(path)
        if not path.exists() and interview.attended:
            _put(path, f"{getpass.getpass('  The password (it is not shown): ')}\n", write_secret_for_the_daemon)
    return [Table("[mqtt]", "State and events go there.", values)]


def _put_in_place(situation: Situation, before: str | None, text: str) -> Path | None:
    """Validate the text as the daemon would, then let it take the place of the old one, of which a copy is kept."""
    path = situation.path
    proposal = path.with_name(f"{path.name}.proposed")
    try:
        _put(proposal, text)
        situation.settings = load_settings(proposal, situation.environment)
    except SettingsError as error:
        raise SetupError(
            f"with these answers the settings are not valid, and nothing was written:\n{error}".replace(
                str(proposal), str(path)
            )
        ) from None
    finally:
        proposal.unlink(missing_ok=True)
    kept = None
    if before is not None:
        written = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
        kept = path.with_name(f"{path.name}.{written:%Y%m%dT%H%M%SZ}")
        _put(kept, before)
    _put(path, text)
    return kept


def _put(path: Path, text: str, write: Callable[[Path, str], None] = write_for_the_daemon) -> None:
    try:
        write(path, text)
    except OSError as error:
        raise SetupError(
            f"{path} can't be written ({error.strerror}); what was there is untouched. Make room, or run this as root,"
            " and run upsctl setup again"
        ) from None


def _load(situation: Situation) -> None:
    try:
        situation.settings = load_settings(situation.path, situation.environment)
    except SettingsError as error:
        raise SetupError(f"{error}\nMend that, or let setup write them anew (replace_settings)") from None


def _show_difference(situation: Situation, before: str, after: str) -> None:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "now", "new", lineterm="", n=1)
    colours = {"-": "red", "+": "green"}
    print()
    for line in lines:
        colour = colours.get(line[:1])
        print(f"  {situation.paint(line, colour) if colour else line}")


def _text_at(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} can't be read ({error}); run this as root, or move the file away") from None
