"""What the wheel carries for systemd, udev and polkit, and for the workers and the NAS."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from upsd.ctl.bytecode import unit_flags
from upsd.ctl.system_files import (
    SYSTEM_FILES,
    SystemFile,
    SystemFilesError,
    packaged,
    python_for_units,
    shipped,
    text_of,
)

ROOT = Path(__file__).parents[2]
EVERYTHING = {
    str(path.relative_to(ROOT))
    for directory in ("systemd", "config/k3s", "config/nas", "config/worker")
    for path in (ROOT / directory).iterdir()
} | {"config/setup-answers.toml", "config/upsd.toml"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this source tree, as `pipx install` gets it."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory], cwd=ROOT, check=True, timeout=60
    )
    (path,) = directory.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_has_all_that_a_machine_needs(wheel: zipfile.ZipFile) -> None:
    """Word for word what stands in the repository, where `shipped` looks for it."""
    prefix = "upsd/ctl/files/"
    carried = {name.removeprefix(prefix) for name in wheel.namelist() if name.startswith(prefix)}
    assert carried == EVERYTHING
    assert {name: wheel.read(prefix + name).decode() for name in carried} == {name: shipped(name) for name in carried}


def test_an_installed_wheel_reads_what_it_carries(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Far from the repository."""
    wheel.extractall(tmp_path)
    program = "from upsd.ctl.system_files import *; print(shipped('config/worker/upsd-worker'), end='')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", f"import upsd; assert upsd.__file__.startswith({str(tmp_path)!r}); {program}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "config/worker/upsd-worker").read_text(encoding="utf-8")


def test_every_file_for_systemd_has_its_place() -> None:
    """A new one that is missing in the table would be installed by nobody."""
    assert {file.source for file in SYSTEM_FILES} == {name for name in EVERYTHING if name.startswith("systemd/")}


@pytest.mark.parametrize("file", SYSTEM_FILES, ids=lambda file: file.source)
def test_a_file_keeps_its_name_below_usr_and_below_etc(file: SystemFile) -> None:
    """So that a machine's own file takes the place of the packaged one; but systemd's last stage knows no /etc."""
    hook = file.source == "systemd/upsd-late"
    assert file.packaged.is_relative_to("/usr")
    assert file.local.is_relative_to("/usr/lib/systemd/system-shutdown" if hook else "/etc")
    assert file.packaged.name == file.local.name


@pytest.mark.parametrize("file", SYSTEM_FILES, ids=lambda file: file.source)
def test_a_unit_runs_the_python_that_it_is_given(file: SystemFile) -> None:
    """The packaged one is named nowhere but where a program is started."""
    text = text_of(file, "/opt/pipx/venvs/upsd/bin/python")
    assert "/usr/lib/upsd" not in text
    runs_python = file.source in {"systemd/upsd.service", "systemd/upsd-snapshot@.service"}
    assert ("\nExecStart=/opt/pipx/venvs/upsd/bin/python -OO " in text) is runs_python
    assert ("\n/opt/pipx/venvs/upsd/bin/python -IOO " in text) is (file.source == "systemd/upsd-late")


@pytest.mark.parametrize("file", SYSTEM_FILES, ids=lambda file: file.source)
def test_only_what_is_a_program_can_be_run(file: SystemFile) -> None:
    """A hook that can't be is passed over by systemd."""
    assert file.mode == (0o755 if shipped(file.source).startswith("#!") else 0o644)


@pytest.mark.parametrize("home", ["/root/.local/share/pipx/venvs/upsd", "/home/alice/venv"])
def test_an_installation_in_a_home_directory_is_refused(home: str) -> None:
    """The unit would fail at its start, with a message that names nothing."""
    with pytest.raises(SystemFilesError, match="PIPX_HOME=/opt/pipx"):
        python_for_units(f"{home}/bin/python")


def test_this_python_is_one_for_the_units() -> None:
    """An installation for the whole machine is taken as it is; it is not the Debian package's."""
    assert python_for_units("/opt/pipx/venvs/upsd/bin/python") == "/opt/pipx/venvs/upsd/bin/python"
    assert not packaged()


@pytest.mark.parametrize("source", ["systemd/upsd.service", "systemd/upsd-snapshot@.service", "systemd/upsd-late"])
def test_the_bytecode_is_compiled_as_it_is_run(source: str) -> None:
    """Of other flags or elsewhere, nothing that was compiled would be used."""
    prefix = "/opt/pipx/venvs/upsd"
    (file,) = [file for file in SYSTEM_FILES if file.source == source]
    (start,) = [line for line in text_of(file, f"{prefix}/bin/python").splitlines() if f"{prefix}/bin/python" in line]
    flags = start[: start.index(" -m ")].replace("-IOO", "-OO").split()[1:]
    assert flags == unit_flags(prefix)
