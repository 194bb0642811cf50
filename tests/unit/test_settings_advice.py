"""What a person is told of settings that work and are unwise."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from tests.unit.settings_files import BROKER, MASTER, RACK, credential, load
from upsd.settings_advice import advise

if TYPE_CHECKING:
    from pathlib import Path


def advice(tmp_path: Path, text: str, *, file_mode: int | None = None) -> tuple[str, ...]:
    """The advice on `text`."""
    return advise(load(tmp_path / "upsd.toml", text), file_mode=file_mode)


NAS = '[nas]\nmount = "/mnt/nas"\nwatts = 18\n'


@pytest.mark.parametrize(
    ("text", "begins", "says"),
    [
        (MASTER + "[kubernetes]", "workers:", "add a [[workers]] table"),
        (RACK.replace("[kubernetes]", ""), "kubernetes:", "add a [kubernetes] table"),
        (
            RACK + "[shutdown]\nauto = false\nbattery_low = false\nshutdown_imminent = false",
            "shutdown:",
            "nothing ever starts",
        ),
        (RACK + "[shutdown]\nauto = false", "shutdown:", "set auto = true"),
        (RACK + "[shutdown]\non_battery = 2", "shutdown.on_battery:", "longer than power.debounce"),
        (RACK + "[power]\ndebounce = 31", "power.debounce:", "set 30 s or less"),
        (RACK + "[power]\nsilence = 1.5", "power.silence:", "2 s more than ups.poll_interval"),
        (RACK.replace("watts = 25", "watts = 0"), "k3s-master:", "set its watts"),
        (RACK.replace("watts = 25", "watts = 470"), "watts: 484 W", "more than the UPS's 480 W"),
        (RACK + "[battery]\nhealth = 1.0", "battery.health:", "set 0.7"),
        (RACK + "[ups]\noutlet_off_delay = 60", "ups.outlet_off_delay:", "set 70 s or more"),
        (RACK.replace("watts = 25", "watts = 25\npoweroff_expected = 170"), "ups.outlet_off_delay:", "200 s"),
        (RACK.replace("7\n[[", "7\npoweroff_limit = 5\n[["), "pi4-a:", "poweroff_limit"),
        (
            RACK
            + 'drain_limit = 60\n[[kubernetes.tiers]]\nname = "a"\n[[kubernetes.tiers]]\nname = "b"\nlabels = ["b"]',
            "kubernetes.tiers:",
            "set drain_limit to 68 s or more",
        ),
        (
            RACK.replace("watts = 7", 'watts = 7\nrole = "server"', 1),
            "workers: with 2 k3s servers",
            "make it an odd number",
        ),
        (
            RACK.replace("watts = 7", 'watts = 7\nrole = "server"') + '[datastore]\ndirectory = "/var/lib/snapshots"',
            "datastore.kind:",
            'set kind = "etcd"',
        ),
        (RACK + NAS, "nas:", "set its host and poweroff_command"),
        (RACK + '[mqtt]\nhost = "broker"', "mqtt.tls:", "set tls = true"),
        (RACK + BROKER + 'username = "u"', "mqtt.username:", "set password_file"),
        (RACK + BROKER + 'password = "p"', "mqtt.password:", "set password_file"),
        (RACK + '[mqtt]\nhost = "127.0.0.1"\nca_file = "/ca"', "mqtt.ca_file:", "set tls = true"),
    ],
)
def test_what_is_unwise_gets_one_sentence_that_says_what_to_do(
    tmp_path: Path, text: str, begins: str, says: str
) -> None:
    """Each unwise choice, and nothing else, is pointed out."""
    (sentence,) = advice(tmp_path, text)
    assert sentence.startswith(begins)
    assert says in sentence


@pytest.mark.parametrize("text", [RACK, RACK + BROKER, RACK + '[mqtt]\nhost = "localhost"'])
def test_what_is_wise_gets_no_advice(tmp_path: Path, text: str) -> None:
    """Silence means that all is well."""
    assert advice(tmp_path, text) == ()


def test_a_password_that_everybody_may_read_is_pointed_out(tmp_path: Path) -> None:
    """Only a file that others may read, and that holds a secret, is worth a word."""
    text = RACK + BROKER + 'password = "p"'
    assert any("chmod 0640" in sentence for sentence in advice(tmp_path, text, file_mode=stat.S_IFREG | 0o644))
    assert not any("chmod" in sentence for sentence in advice(tmp_path, text, file_mode=stat.S_IFREG | 0o640))
    assert advice(tmp_path, RACK, file_mode=stat.S_IFREG | 0o644) == ()


def test_a_password_in_a_file_of_its_own_is_wise(tmp_path: Path) -> None:
    """A password that was put where it belongs is not complained about."""
    environment = credential(tmp_path, "upsd_mqtt_password", "p")
    assert advise(load(tmp_path / "upsd.toml", RACK + BROKER, environment), file_mode=stat.S_IFREG | 0o644) == ()
