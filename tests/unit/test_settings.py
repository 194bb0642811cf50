"""What a person who writes `upsd.toml` may count on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings_files import BROKER, MASTER, RACK, credential, load, problems
from upsd.domain.duration import parse_duration
from upsd.settings import EXIT_CONFIG, MqttSettings, Settings, SettingsError, load_settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the settings file is."""
    return tmp_path / "upsd.toml"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5min", 300),
        ("1h", 3600),
        ("7d", 604800),
        ("500ms", 0.5),
        ("2.5", 2.5),
        ("1.5 min", 90),
        (" 3s ", 3),
    ],
)
def test_a_duration_is_written_with_its_unit(text: str, seconds: float) -> None:
    """Each unit counts as what people take it for."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5s", "1w", "5 minutes", "1h30min", "nan", "1e3", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed: a duration that is read wrongly could end a battery."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_a_master_alone_is_enough(path: Path) -> None:
    """Everything but the master has a default or may be absent."""
    settings = load(path, MASTER)
    assert settings.master.name == "k3s-master"
    assert (settings.workers, settings.nas, settings.kubernetes, settings.mqtt) == ((), None, None, None)


def test_durations_in_the_file_are_seconds_or_text(path: Path) -> None:
    """Both ways to write a duration end as seconds."""
    settings = load(path, MASTER + '[ups]\noutlet_off_delay = "4min"\n[power]\ndebounce = 2\n')
    assert (settings.ups.outlet_off_delay, settings.power.debounce) == (240, 2)


def test_the_environment_wins_over_the_file(path: Path) -> None:
    """A container or a drop-in can change any one setting, in numbers, texts, switches and lists."""
    environment = {
        "UPSD_MQTT__HOST": "10.0.0.2",
        "UPSD_MQTT__TLS": "false",
        "UPSD_POWER__DEBOUNCE": "5s",
        "UPSD_MASTER__POWEROFF_COMMAND": '["halt", "-p"]',
        "UPSD_LOADS": '[{"name": "switch", "watts": 8}]',
        "UPSD_STATE_DIRECTORY": "/srv/upsd",
        "HOME": "/root",
    }
    settings = load(path, MASTER + BROKER, environment)
    assert settings.mqtt is not None
    assert (settings.mqtt.host, settings.mqtt.tls, settings.power.debounce) == ("10.0.0.2", False, 5)
    assert settings.master.poweroff_command == ["halt", "-p"]
    assert settings.master.watts == 25
    assert [load.name for load in settings.loads] == ["switch"]
    assert settings.state_directory == Path("/srv/upsd")


def test_the_environment_of_the_test_run_itself_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the environment that is passed in counts, so that a check elsewhere checks what it says."""
    monkeypatch.setenv("UPSD_UPS__NAME", "stray")
    assert load(path, MASTER).ups.name == "iplug"


def test_variables_that_are_no_settings_are_left_alone(path: Path) -> None:
    """The path of the file and the simulator's own variables may stand beside the settings."""
    assert load(path, MASTER, {"UPSD_CONFIG": str(path), "UPSD_SIM_SEED": "1"}).ups.name == "iplug"


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("UPSD_MQQT__HOST", "did you mean UPSD_MQTT__HOST?"),
        ("UPSD_UPS__POL_INTERVAL", "did you mean UPSD_UPS__POLL_INTERVAL?"),
        ("UPSD_WORKERS__0__HOST", "write UPSD_WORKERS as one JSON list, or use the file"),
        ("UPSD_XYZZY", "remove it, or see config/upsd.toml for the names"),
    ],
)
def test_a_misspelt_variable_is_an_error(path: Path, name: str, right: str) -> None:
    """A variable that sets nothing would leave its author believing that it does."""
    assert problems(path, MASTER, {name: "x"}) == (f"environment: {name}: no such setting; {right}",)


def test_a_wrong_value_in_the_environment_is_reported_there(path: Path) -> None:
    """The line names the variable, since the file has nothing wrong in it."""
    environment = {"UPSD_UPS__POLL_INTERVAL": "0s", "UPSD_WORKERS": "[", "UPSD_BATTERY__HEALTH": "2"}
    assert problems(path, MASTER, environment) == (
        'environment: UPSD_WORKERS: is not JSON; write a list such as ["a", "b"]',
        "environment: UPSD_UPS__POLL_INTERVAL: must be more than 0; for example poll_interval = 0.5",
        "environment: UPSD_BATTERY__HEALTH: must be at most 1; for example health = 0.7",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[ups]\npol_interval = 1", "ups.pol_interval: no such key; did you mean poll_interval?"),
        ("[power]\nxyzzy = 1", "power.xyzzy: no such key; there are: debounce, silence"),
        ("[mqqt]\n", "mqqt: no such key; did you mean mqtt?"),
        (
            '[power]\n"two\\nlines" = 1',
            'power."two\\nlines": no such key; there are: debounce, silence',
        ),
        ("[ups]\nname = 5", 'ups.name: must be text in quotes, not a number; for example name = "iplug"'),
        ('[ups]\nname = "My UPS"', "ups.name: can't be used as it stands; write only a-z, 0-9, _ and -"),
        (
            '[shutdown]\nauto = "perhaps"',
            "shutdown.auto: must be true or false, not text; for example auto = true",
        ),
        ("[nas]\nwatts = 18", 'nas.mount: is missing; add it, for example mount = "/mnt/nas"'),
        (
            '[nas]\nwatts = 18\nmount = "mnt/nas"',
            "nas.mount: is a relative path; write the whole path, from /",
        ),
        (
            '[nas]\nwatts = 18\nmount = "/mnt/nas"\npoweroff_command = "poweroff"',
            "nas.poweroff_command: needs to know where to run; add host, the address of the NAS",
        ),
        (
            '[nas]\nwatts = 18\nmount = "/mnt/nas"\nhost = "n"\npoweroff_command = "off"\nrehearse_command = "off"',
            (
                "nas.rehearse_command: is the power-off itself, which a rehearsal must never run;"
                " write sudo -n -l, or remove it"
            ),
        ),
        (
            '[kubernetes]\nservers = ["192.168.7.10:6443"]',
            (
                "kubernetes.servers.0: can't be used as it stands; "
                'write an address such as "https://192.168.7.10:6443", without user or path'
            ),
        ),
        (
            '[ups]\nport = "/dev/ttyUSB0"',
            (
                "ups.port: can't be used as it stands; "
                'write "usb", "usb:1-4.2" for what is plugged in there, or "serial:/dev/ttyUSB0"'
            ),
        ),
        ("[ups]\nident = 8", "ups.ident: must be at most 7; for example ident = 0"),
        (
            '[ups]\nprotocol = "hid"',
            'ups.protocol: must be "auto", "gpser" or "sentr"; for example protocol = "auto"',
        ),
        (
            "[ups]\noutlet_off_delay = 1.5",
            "ups.outlet_off_delay: 1.5 s is not what the UPS can count; write whole seconds from 1 to 65535",
        ),
        (
            "[ups]\noutlet_off_delay = 65536",
            "ups.outlet_off_delay: 65536 s is not what the UPS can count; write whole seconds from 1 to 65535",
        ),
        (
            "[ups]\noutlet_restore_delay = 90",
            "ups.outlet_restore_delay: 90 s is not what the UPS can count; write whole minutes, such as 60 or 2min",
        ),
        ("[battery]\nreserve = 0", "battery.reserve: must be more than 0; for example reserve = 60"),
        ("[battery]\nreserve = -5", "battery.reserve: must be more than 0; for example reserve = 60"),
        ("[battery]\nreserve = inf", "battery.reserve: must be a finite number; for example reserve = 60"),
        (
            "[battery]\ninverter_idle_w = true",
            "battery.inverter_idle_w: true and false are no numbers; write a number",
        ),
        (
            '[workers]\nname = "pi"',
            "workers: must be a list, not a table; for example [[workers]] with name and host and watts",
        ),
        (
            '[log]\nformat = "xml"',
            'log.format: must be "auto", "console" or "json"; for example format = "auto"',
        ),
        (
            '[mqtt]\nhost = "h"\npassword = "a"\npassword_file = "/b"',
            "mqtt.password_file: password is given as well; keep only one of them, best password_file",
        ),
    ],
)
def test_each_mistake_is_one_clear_line(path: Path, text: str, problem: str) -> None:
    """Key, what is wrong, what would be right."""
    assert problems(path, MASTER + text) == (problem,)


def test_a_file_without_a_master_says_how_to_write_one(path: Path) -> None:
    """The one table that has to be there is asked for in words that can be copied."""
    assert problems(path, "") == ("master: is missing; add it, for example [master] with name and watts",)


def test_all_problems_are_reported_at_once(path: Path) -> None:
    """Nobody has to fix a file one restart at a time, whether keys, types or combinations are wrong."""
    text = RACK.replace("pi4-b", "pi4-a") + '[ups]\npol_interval = 1\n[mqtt]\nhost = "h"\nport = "x"\n'
    assert problems(path, text, {"UPSD_XYZZY": "1"}) == (
        "environment: UPSD_XYZZY: no such setting; remove it, or see config/upsd.toml for the names",
        "ups.pol_interval: no such key; did you mean poll_interval?",
        'workers.1.name: "pi4-a" is named twice; give every machine its own name',
        "mqtt.port: must be a whole number, not text",
    )


def test_a_master_that_goes_off_after_its_outlet_is_impossible(path: Path) -> None:
    """The last thing that upsd does must not be to have its own disk cut off while it is written."""
    text = MASTER + "[ups]\noutlet_off_delay = 20\n"
    said = "takes 40 s to power off (poweroff_expected), but its power is cut after 20 s (ups.outlet_off_delay)"
    assert problems(path, text) == (f"master: {said}; raise outlet_off_delay",)


def test_an_address_belongs_to_one_machine(path: Path) -> None:
    """A copied table that keeps its address would leave one machine running until its power is cut."""
    worker = '[[workers]]\nname = "{}"\nhost = "192.0.2.1"\nwatts = 5\n'
    said = "have the same address 192.0.2.1:22; give every machine its own"
    assert problems(path, MASTER + worker.format("a") + worker.format("b")) == (f"workers: a and b {said}",)
    nas = '[nas]\nmount = "/mnt/nas"\nwatts = 5\nhost = "192.0.2.1"\n'
    assert problems(path, MASTER + worker.format("a") + nas) == (f"nas: a and nas {said}",)


@pytest.mark.parametrize("name", ["k3s-master", "pi4-a"])
def test_a_name_belongs_to_one_machine(path: Path, name: str) -> None:
    """Steps are named after machines: two of one name would be one step."""
    said = f'"{name}" is named twice; give every machine its own name'
    assert problems(path, RACK.replace("pi4-b", name)) == (f"workers.1.name: {said}",)
    assert problems(path, RACK + f'[nas]\nname = "{name}"\nmount = "/mnt/nas"\nwatts = 1') == (f"nas.name: {said}",)
    assert problems(path, RACK + f'[[loads]]\nname = "{name}"\nwatts = 1') == (f"loads.0.name: {said}",)


@pytest.mark.parametrize(
    ("text", "line"), [("[master]\nname = ", 2), ('a = "b', 1), ("\n\na = 1\na = 2\nb = 3", 4), ("= 1", 1)]
)
def test_broken_toml_is_reported_with_its_line(path: Path, text: str, line: int) -> None:
    """A person finds the place, even if the parser only noticed at the end of the file."""
    (problem,) = problems(path, text)
    assert problem.startswith(f"line {line}: no valid TOML (")
    assert problem.endswith('; write key = value, each key once, text in "quotes"')


def test_a_file_that_is_not_utf8_is_reported_with_its_line(path: Path) -> None:
    """A file saved as Latin-1 says so rather than ending in a traceback."""
    path.write_bytes(b"[master]\n# K\xfcche\n")
    with pytest.raises(SettingsError, match=r"upsd\.toml: line 2: not UTF-8; save the file as UTF-8 text"):
        load_settings(path, {})


def test_a_missing_file_says_where_to_get_one(path: Path) -> None:
    """The first start after the installation ends with the next thing to do."""
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert str(caught.value) == f"{path}: no such file; copy config/upsd.toml there and adapt it"


def test_a_directory_is_no_settings_file(tmp_path: Path) -> None:
    """`--config /etc/upsd` gets the hint to name the file in it."""
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path, {})
    assert str(caught.value) == f"{tmp_path}: is not a file; name the settings file itself, such as upsd.toml"


def test_a_file_that_may_not_be_read_says_how_to_mend_that(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual mistake of a file that root created is answered with the two commands against it."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    path.write_text(MASTER, encoding="utf-8")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert str(caught.value) == (f"{path}: may not be read; make it readable with chown root:upsd and chmod 0640")


def test_callers_end_with_the_exit_code_that_systemd_does_not_restart() -> None:
    """`RestartPreventExitStatus=78` of the unit and the code that callers use are the same."""
    unit = Path(__file__).parents[2] / "systemd" / "upsd.service"
    assert f"RestartPreventExitStatus={EXIT_CONFIG}" in unit.read_text(encoding="utf-8").splitlines()


def test_settings_never_change(path: Path) -> None:
    """What was checked at the start is what runs in the outage."""
    settings = load(path, MASTER)
    with pytest.raises(ValueError, match="frozen"):
        settings.master.watts = 3


def test_the_mqtt_port_follows_tls_unless_it_is_given() -> None:
    """8883 is the port for TLS, 1883 the one without."""
    assert [MqttSettings(host="h").port, MqttSettings(host="h", tls=True).port] == [1883, 8883]
    assert MqttSettings(host="h", tls=True, port=1883).port == 1883


def test_a_password_never_shows(path: Path) -> None:
    """Neither printed settings nor an error near the password give it away."""
    settings = load(path, MASTER + BROKER + 'password = "hunter2"')
    assert settings.mqtt is not None
    assert settings.mqtt.password is not None
    assert settings.mqtt.password.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ('[mqtt]\nhost = "h"\npasword = "hunter2"', {}),
        ('[mqtt]\nhost = "h"\npassword = ["hunter2"]', {}),
        ('[mqtt]\nhost = "upsd:hunter2@h"', {}),
        ('mqtt = "hunter2"', {}),
        ('[mqtt]\nhost = "h"\nport = "hunter2"', {}),
        ('[mqtt]\nhost = "h"\npassword = "hunter2', {}),
        ("", {"UPSD_MQTT__PASSWROD": "hunter2"}),
        ("", {"UPSD_MQTT": '{"password": "hunter2'}),
    ],
)
def test_a_misplaced_password_never_shows_in_an_error(path: Path, text: str, environment: dict[str, str]) -> None:
    """Errors end in logs that more people read than the settings."""
    with pytest.raises(SettingsError) as caught:
        load(path, f"{text}\n{MASTER}", environment)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def mqtt_password(settings: Settings) -> str | None:
    """The password that the broker would be told."""
    assert settings.mqtt is not None
    return settings.mqtt.password.get_secret_value() if settings.mqtt.password else None


def test_the_password_comes_from_the_credential_then_the_file_then_the_environment(path: Path, tmp_path: Path) -> None:
    """The safest place that has a password wins; the newline that editors add does not belong to it."""
    file = tmp_path / "password"
    file.write_text("from file\n", encoding="utf-8")
    given = {"UPSD_MQTT__PASSWORD": "from environment"}
    handed_over = credential(tmp_path, "upsd_mqtt_password", "from credential\n")
    in_file = f'{MASTER}{BROKER}password_file = "{file}"\n'

    assert mqtt_password(load(path, MASTER + BROKER)) is None
    assert mqtt_password(load(path, MASTER + BROKER, given)) == "from environment"
    assert mqtt_password(load(path, in_file)) == "from file"
    assert mqtt_password(load(path, in_file, handed_over | given)) == "from credential"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "does not exist; create it with the password on its only line"),
        (b"\n", "is empty; write the password on its only line"),
        (b"\xff", "can't be read (not text); make it a text file readable by upsd"),
    ],
)
def test_a_password_file_without_a_password_is_an_error(
    path: Path, tmp_path: Path, content: bytes | None, wrong: str
) -> None:
    """A daemon that can't log in to its broker says so when it starts, not when the mains goes."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    text = f'{MASTER}{BROKER}password_file = "{file}"\n'
    assert problems(path, text) == (f"mqtt.password_file: {file} {wrong}",)


def test_credentials_replace_default_paths_only(path: Path, tmp_path: Path) -> None:
    """A key that systemd hands over needs no setting; a path that somebody wrote down is obeyed."""
    environment = credential(tmp_path, "upsd_ssh_key", "key") | credential(tmp_path, "upsd_kubeconfig", "config")
    directory = Path(environment["CREDENTIALS_DIRECTORY"])
    settings = load(path, RACK, environment)
    assert settings.kubernetes is not None
    assert (settings.ssh.key_file, settings.kubernetes.kubeconfig) == (
        directory / "upsd_ssh_key",
        directory / "upsd_kubeconfig",
    )
    assert load(path, RACK + '[ssh]\nkey_file = "/k"', environment).ssh.key_file == Path("/k")
    assert load(path, MASTER, environment).kubernetes is None


def test_a_number_in_quotes_is_text_in_the_file_and_a_number_in_the_environment(path: Path) -> None:
    """TOML tells the two apart; the environment can't."""
    text = '[master]\nname = "m"\nwatts = "25"\n'
    assert problems(path, text) == ("master.watts: is a number in quotes, which is text; write it without them",)
    assert load(path, MASTER, {"UPSD_MASTER__WATTS": "30", "UPSD_UPS__POLL_INTERVAL": "2"}).master.watts == 30
