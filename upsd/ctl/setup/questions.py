"""Everything that setup may ask: the key of the answer, the question, why it is asked, and what counts as an answer.

`config/setup-answers.toml` is the same for people who would rather write it down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from upsd.settings import (
    BatterySettings,
    LoadSettings,
    MasterSettings,
    MqttSettings,
    NasSettings,
    UpsSettings,
    WorkerSettings,
)
from upsd.settings_problems import read_value
from upsd.settings_types import Variable

if TYPE_CHECKING:
    from collections.abc import Callable

    from upsd.settings_problems import Key
    from upsd.settings_types import Section

Value = str | int | float | bool | None
NODE: Final = "NODE"
NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to know; `NODE` in its key and text stands for a machine's name.

    Attributes:
        key: of the answer in a file.
        text: the question.
        why: what the answer is for.
        read: makes the answer of a text, or raises `ValueError` with what would be right.
        once: the answer counts for one run: it is a person's consent to what that run does.
    """

    key: Key
    text: str
    why: str
    read: Callable[[str], Value]
    once: bool = False

    def about(self, name: str) -> Question:
        """The same about one machine."""
        key = tuple(name if part == NODE else part for part in self.key)
        return replace(self, key=key, text=self.text.replace(NODE, name))


def _setting(model: type[Section], name: str) -> Callable[[str], Value]:
    """What the daemon itself takes for this setting."""

    def read(text: str) -> Value:
        value = read_value(model, name, Variable(text))
        return value if isinstance(value, int | float | bool | str) else str(value)

    return read


def _or_none(read: Callable[[str], Value], text: str) -> Value:
    return None if text.lower() == NONE else read(text)


def _optional(model: type[Section], name: str) -> Callable[[str], Value]:
    return partial(_or_none, _setting(model, name))


def _text(text: str) -> Value:
    if not text.strip():
        raise ValueError("is empty; write something")
    return text.strip()


def _agreement(text: str) -> Value:
    if text.lower() in {"y", "yes", "true"}:
        return True
    if text.lower() in {"n", "no", "false"}:
        return False
    raise ValueError("must be yes or no")


REPLACE_SETTINGS = Question(
    ("replace_settings",),
    "Write the settings anew, with your answers?",
    "Somebody has changed them by hand. They are kept beside the new ones; with no, they stay as they are.",
    _agreement,
    once=True,
)
INSTALL_SYSTEM_FILES = Question(
    ("install_system_files",),
    "Install what belongs to the system: the user upsd, the udev and polkit rules and the units?",
    "No package has done it. Without them upsd may neither read the UPS nor power this machine off.",
    _agreement,
)

UPS_PORT = Question(
    ("ups", "port"),
    "Where is the UPS?",
    '"usb" takes the one that there is; "usb:1-4.2" the one at that port; "serial:/dev/ttyUSB0" a serial cable.',
    _setting(UpsSettings, "port"),
)
GO_ON_WITHOUT_UPS = Question(
    ("ups", "go_on_without"),
    "Go on without the UPS?",
    "Everything else can be set up; but until the UPS is read, upsd protects nothing.",
    _agreement,
    once=True,
)

ADMIN_KUBECONFIG = Question(
    ("cluster", "kubeconfig"),
    "Where is the kubeconfig of the cluster's administrator?",
    "The nodes are read with it, and the rights of upsd are granted; upsd itself never uses it. none: no cluster.",
    partial(_or_none, _text),
)

MASTER_NAME = Question(
    ("master", "name"),
    "Which node is this machine?",
    "It goes off last, and is never drained by itself.",
    _setting(MasterSettings, "name"),
)
MASTER_WATTS = Question(
    ("master", "watts"),
    "What does this machine draw under load, in watts?",
    "The time that the battery gives is reckoned with it: better too much than too little.",
    _setting(MasterSettings, "watts"),
)

WORKER_LEFT_OUT = Question(
    ("workers", NODE, "left_out"),
    "Leave NODE alone?",
    "For a machine that is not on this UPS: it is neither powered off nor enrolled.",
    _agreement,
)
WORKER_HOST = Question(
    ("workers", NODE, "host"),
    "At which address is NODE?",
    "A numeric one is better: in an outage the name server may be the first to go.",
    _setting(WorkerSettings, "host"),
)
WORKER_PORT = Question(
    ("workers", NODE, "port"),
    "On which port does sshd of NODE listen?",
    "upsd logs in there to power it off.",
    _setting(WorkerSettings, "port"),
)
WORKER_WATTS = Question(
    ("workers", NODE, "watts"),
    "What does NODE draw under load, in watts?",
    "The time that the battery gives is reckoned with it: better too much than too little.",
    _setting(WorkerSettings, "watts"),
)
WORKER_MAC = Question(
    ("workers", NODE, "mac"),
    "To which MAC address does NODE wake by Wake-on-LAN?",
    "Then upsd can switch it on again. none: it starts by itself when it gets power, as a Raspberry Pi does.",
    _optional(WorkerSettings, "mac"),
)
WORKER_ADMINISTRATOR = Question(
    ("workers", NODE, "administrator"),
    "Who logs in to NODE to install the helper there?",
    "root, or a user with sudo, with your own keys, agent or password; once.",
    _text,
)
WORKER_IDENTITY = Question(
    ("workers", NODE, "identity"),
    "Which private key opens NODE to its administrator?",
    "none: whichever ssh finds by itself.",
    partial(_or_none, _text),
)
WORKER_FINGERPRINT = Question(
    ("workers", NODE, "fingerprint"),
    "Which fingerprint has the host key of NODE?",
    "As `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows it there. none: you compare it when it is shown.",
    partial(_or_none, _text),
)
ADMINISTRATOR = Question(
    ("administrator",),
    "Who logs in to the workers to install the helper there?",
    "root, or a user with sudo, with your own keys, agent or password; once for each worker.",
    _text,
)
ACCEPT_NEW_HOST_KEYS = Question(
    ("accept_new_host_keys",),
    "Trust whatever host key a new machine shows?",
    "Only where nobody else can be on the network between you and the machines.",
    _agreement,
    once=True,
)

NAS_MOUNT = Question(
    ("nas", "mount"),
    "Where is the NAS mounted here?",
    "It is unmounted and flushed when the workers are off. none: there is no NAS.",
    _optional(NasSettings, "mount"),
)
NAS_HOST = Question(
    ("nas", "host"),
    "At which address is the NAS?",
    "upsd logs in there to have it write out its cache. none: it is only unmounted here.",
    _optional(NasSettings, "host"),
)
NAS_PORT = Question(
    ("nas", "port"),
    "On which port does sshd of the NAS listen?",
    "upsd logs in there to flush it.",
    _setting(NasSettings, "port"),
)
NAS_WATTS = Question(
    ("nas", "watts"),
    "What does the NAS draw, in watts?",
    "The time that the battery gives is reckoned with it.",
    _setting(NasSettings, "watts"),
)
NAS_USER = Question(
    ("nas", "user"),
    "As whom does upsd log in to the NAS?",
    "Its authorized_keys ties upsd's key to config/nas/upsd-nas: see docs/storage.md.",
    _setting(NasSettings, "user"),
)
NAS_FINGERPRINT = Question(
    ("nas", "fingerprint"),
    "Which fingerprint has the host key of the NAS?",
    "As `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows it there. none: you compare it when it is shown.",
    partial(_or_none, _text),
)
NAS_POWER_OFF = Question(
    ("nas", "power_off"),
    "Shall upsd power the NAS off?",
    "Otherwise it runs until its outlet goes off, flushed but not shut down.",
    _agreement,
)
LOADS_WATTS = Question(
    ("loads", "watts"),
    "What else hangs on the UPS (a switch, a router), in watts all together?",
    "It draws from the battery until the outlets go off. 0: nothing.",
    _setting(LoadSettings, "watts"),
)

BATTERY_CAPACITY = Question(
    ("battery", "capacity_ah"),
    "The capacity of the battery, in ampere-hours, from its label?",
    "The iPlug reports neither charge nor runtime: upsd reckons them. none: what the UPS says of itself.",
    _optional(BatterySettings, "capacity_ah"),
)
BATTERY_VOLTAGE = Question(
    ("battery", "voltage_v"),
    "Its voltage, in volts, from its label?",
    "none: what the UPS says of itself.",
    _optional(BatterySettings, "voltage_v"),
)
BATTERY_INSTALLED = Question(
    ("battery", "installed"),
    "When was it put in (such as 2024-05-01)?",
    "The date by which it should be replaced is reckoned with it. none: not known.",
    _optional(BatterySettings, "installed"),
)

MQTT_HOST = Question(
    ("mqtt", "host"),
    "At which address is the MQTT broker?",
    "State and events go there, for Home Assistant and the like. none: there is no broker.",
    _optional(MqttSettings, "host"),
)
MQTT_TLS = Question(
    ("mqtt", "tls"),
    "Does it speak TLS?",
    "Without it anyone between can read along.",
    _agreement,
)
MQTT_USERNAME = Question(
    ("mqtt", "username"),
    "As which user does upsd log in there?",
    "none: it asks for no login.",
    _optional(MqttSettings, "username"),
)
MQTT_PASSWORD_FILE = Question(
    ("mqtt", "password_file"),
    "In which file is the password?",
    "It has the password on its only line. If it is not there yet, you are asked for the password.",
    _text,
)

START_SERVICE = Question(
    ("start_service",),
    "Start upsd, now and with each boot?",
    "It watches the UPS. It shuts nothing down before you arm it.",
    _agreement,
)
REHEARSE = Question(
    ("rehearse",),
    "Rehearse the shutdown now?",
    "Every login, right, mount and command is proven with its real credentials, and nothing is changed.",
    _agreement,
)

QUESTIONS: Final = tuple(value for value in globals().values() if isinstance(value, Question))
