"""The Debian package in roots of Debian 12 and 13 and Ubuntu 24.04: installed, upgraded, removed, beside NUT."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm.__main__ import READY_VARIABLE
from tests.vm.chroots import SUITES, distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("debian package")]

UNIT = "etc/systemd/system/upsd.service"
PYTHON = "/usr/lib/upsd/bin/python3"
BYTECODE = "usr/lib/upsd/bytecode"
AS_THE_UNIT = (PYTHON, "-OO", "-X", "no_debug_ranges", "-X", f"pycache_prefix=/{BYTECODE}")
NUT_UNIT = "/usr/lib/systemd/system/nut-server.service"
QUIETLY = ("DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
OLDER = "0.0.1-1"


class Chroot:
    """A distribution's root, of which the test may do what it likes."""

    def __init__(self, root: Path, suite: str) -> None:
        self.root = root
        self.suite = suite
        self.nut: list[str] = []
        self.nut = self.ours()

    def run(self, *command: str, status: int = 0) -> str:
        """What a program there says, on both outputs; it must end with that status."""
        done = subprocess.run(
            ["chroot", self.root, "env", "-i", *QUIETLY, *command],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=200,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def install(self, deb: Path) -> str:
        """What dpkg says; whatever would be asked is an error."""
        shutil.copy(deb, self.root / "tmp")
        return self.run("sh", "-c", f"dpkg --force-unsafe-io -i /tmp/{deb.name} </dev/null")

    def ours(self) -> list[str]:
        """Every path there that has our name, but for what dpkg was given."""
        found = self.run(
            "find", "/", "-xdev", "(", "-path", "/proc", "-o", "-path", "/tmp", ")", "-prune", "-o", "-print"
        )
        return [path for path in found.splitlines() if re.search(r"upsd\b|upsctl", path) and path not in self.nut]

    def give_back_the_name(self) -> None:
        """Take the second name from NUT's server, which it has in Debian 13."""
        (self.root / UNIT).unlink(missing_ok=True)

    def rights(self, path: str) -> str:
        """Mode, owner and group of a file, such as `640 root upsd`."""
        return self.run("stat", "--format=%a %U %G", path).strip()


@pytest.fixture(scope="module")
def deb() -> Path:
    """The package of this source tree."""
    if READY_VARIABLE not in os.environ:
        pytest.skip("make vm-test makes what these tests need, and runs them")
    package = Path(os.environ[READY_VARIABLE].split(":")[2])
    (path,) = package.glob("*.deb")
    return path


@pytest.fixture(scope="module")
def older(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an older version, and with a module that the newer one has no more."""
    directory = tmp_path_factory.mktemp("older")
    root = directory / "root"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, root], check=True)
    control = root / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {OLDER}", control.read_text(), flags=re.MULTILINE))
    gone = root / "usr/lib/upsd/lib/python3/site-packages/upsd/gone/__init__.py"
    gone.parent.mkdir()
    gone.write_text('"""A module of former times."""\n')
    goal = directory / f"upsd_{OLDER}_amd64.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, goal], check=True)
    return goal


@contextlib.contextmanager
def fresh_root(suite: str, path: Path) -> Iterator[Chroot]:
    """A root of the suite, with NUT in it; /proc is there, a running systemd is not."""
    tar = distribution(suite)
    if os.geteuid() != 0 or not tar.exists():
        pytest.skip("make vm-test, as root, makes these roots, as far as it reaches their archives")
    # In memory: dpkg waits for the disk at every turn, and so does whoever removes it all afterwards.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", path], check=True)
    try:
        subprocess.run(["tar", "-C", path, "-xf", tar], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", path / "proc"], check=True)
        yield Chroot(path, suite)
    finally:
        subprocess.run(["umount", "--recursive", path], check=True)


@pytest.fixture(params=SUITES)
def chroot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Chroot]:
    """A fresh root of a distribution."""
    with fresh_root(request.param, tmp_path) as root:
        yield root


@pytest.fixture(scope="module", params=SUITES)
def installed(request: pytest.FixtureRequest, deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    """One with the package, for those who leave it as it is."""
    with fresh_root(request.param, tmp_path_factory.mktemp("installed")) as root:
        root.install(deb)
        yield root


def test_installed_upgraded_removed_and_purged(chroot: Chroot, older: Path, deb: Path) -> None:
    """The administrator's settings live through the upgrade, nothing of ours through the purge, but for the user."""
    chroot.give_back_the_name()
    said = chroot.install(older)
    assert "upsd only watches the UPS until it is set up" in said
    assert chroot.run("systemctl", "is-enabled", "upsd.service") == "enabled\n"
    assert {path: chroot.rights(path) for path in ("/etc/upsd", "/etc/upsd/upsd.toml", "/var/lib/upsd")} == {
        "/etc/upsd": "750 root upsd",
        "/etc/upsd/upsd.toml": "640 root upsd",
        "/var/lib/upsd": "700 upsd upsd",
    }

    settings = chroot.root / "etc/upsd/upsd.toml"
    settings.write_text(settings.read_text().replace("watts = 25", "watts = 30"))
    chroot.run("systemctl", "disable", "upsd.service")
    said = chroot.install(deb)
    assert "only watches" not in said
    assert "watts = 30" in settings.read_text()
    assert chroot.rights("/etc/upsd/upsd.toml") == "640 root upsd"
    assert chroot.run("systemctl", "is-enabled", "upsd.service", status=1) == "disabled\n"
    assert [path for path in chroot.ours() if "/gone" in path] == []
    assert chroot.run("dpkg", "--verify", "upsd").split() == ["??5??????", "c", "/etc/upsd/upsd.toml"]

    chroot.run("dpkg", "--remove", "upsd")
    kept = {path for path in chroot.ours() if not path.startswith(("/var/lib/dpkg/", "/var/lib/systemd/"))}
    wanted_by = "/etc/systemd/system/multi-user.target.wants/upsd.service"
    assert kept - {wanted_by} == {"/etc/upsd", "/etc/upsd/credentials", "/etc/upsd/upsd.toml", "/var/lib/upsd"}
    chroot.run("dpkg", "--purge", "upsd")
    assert chroot.ours() == []
    assert chroot.run("id", "--name", "--user", "upsd") == "upsd\n"


def test_it_runs_on_that_distribution_s_python_and_no_other_s_packages(installed: Chroot) -> None:
    """Every module that was compiled for it loads, and the distribution's own packages are not seen."""
    foreign = installed.root / "usr/lib/python3/dist-packages/structlog.py"
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_text("raise SystemExit('this is the structlog of somebody else')\n")
    assert installed.run(PYTHON, "-V").startswith(f"Python {SUITES[installed.suite]}.")
    everything = (
        "import _cffi_backend, cryptography.x509, lightkube, msgspec, pydantic_core, structlog, upsd.daemon, yaml"
    )
    assert installed.run(*AS_THE_UNIT, "-c", everything) == ""
    assert "--config" in installed.run(PYTHON, "-B", "-m", "upsd", "--help")
    assert "is valid" in installed.run("upsctl", "config", "check")
    assert "is valid" in installed.run("upsctl", "config", "check", "/usr/share/doc/upsd/examples/upsd.toml")
    helper = (
        "from upsd.ctl.system_files import packaged, shipped; print(packaged(), shipped('config/worker/upsd-worker'))"
    )
    assert installed.run(PYTHON, "-B", "-c", helper).startswith("True #!/bin/sh\n")


def test_nothing_is_compiled_at_run_time(installed: Chroot) -> None:
    """All bytecode is made by the installation, with the flags of the unit; the unit could not write any."""
    packages = installed.root / f"usr/lib/upsd/lib/python{SUITES[installed.suite]}/site-packages"
    assert len(compiled_below(installed, packages)) == len(list(packages.rglob("*.py")))
    before = compiled_below(installed)
    installed.run(*AS_THE_UNIT, "-c", "import upsd.daemon, upsd.late, upsd.snapshot, usb.backend.libusb1")
    installed.run("upsctl", "status", status=3)
    assert compiled_below(installed) == before
    assert all(path.name.endswith(".opt-2.pyc") for path in before)
    assert not list(packages.rglob("__pycache__"))


def test_another_python_is_compiled_for_at_once(installed: Chroot) -> None:
    """When the distribution is upgraded, python3 calls what is in its runtime.d."""
    before = compiled_below(installed)
    shutil.rmtree(installed.root / BYTECODE)
    installed.run("/usr/share/python3/runtime.d/upsd.rtupdate", "rtupdate", "python3.10", "python3.11")
    assert compiled_below(installed).keys() == before.keys()


def test_an_update_of_python_is_compiled_for_at_once(installed: Chroot) -> None:
    """Its own modules are other ones then, and what was compiled of the old ones would not be used."""
    stdlib = f"usr/lib/python{SUITES[installed.suite]}"
    source = installed.root / stdlib / "asyncio/events.py"
    os.utime(source, (1_800_000_000, 1_800_000_000))
    installed.run("dpkg-trigger", "--by-package=dpkg", "--no-await", f"/{stdlib}")
    installed.run("dpkg", "--configure", "--pending")
    (compiled,) = (installed.root / BYTECODE / stdlib / "asyncio").glob("events.*.pyc")
    assert int.from_bytes(compiled.read_bytes()[8:12], "little") == 1_800_000_000


def compiled_below(installed: Chroot, place: Path | None = None) -> dict[Path, int]:
    """What was compiled, of all sources or of those below a place, and when."""
    below = installed.root / BYTECODE
    if place is not None:
        below /= place.relative_to(installed.root)
    return {path: path.stat().st_mtime_ns for path in below.rglob("*.pyc")}


def test_status_is_there_at_once(installed: Chroot) -> None:
    """Under a tenth of a second from a cold start, the best of some."""
    with daemon_answering(installed.root / "run/upsd/control.sock"):
        took = []
        for _ in range(15):
            started = time.perf_counter()
            installed.run("upsctl", "status", "--json")
            took.append(time.perf_counter() - started)
    assert min(took) < 0.1


@contextlib.contextmanager
def daemon_answering(path: Path) -> Iterator[None]:
    """A socket at which a rack on line is told to whoever asks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"schema": 1, "power": "on_line", "phase": "idle"}
    answer = json.dumps({"state": state, "shutdown": {"reason": None}}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_nut_stays_as_it_is(chroot: Chroot, deb: Path) -> None:
    """Nothing of NUT's is changed by our coming and going, and dpkg finds both in order."""
    before = {path: (chroot.root / path.lstrip("/")).lstat().st_mtime_ns for path in chroot.nut}
    assert "/usr/sbin/upsd" in before or "/sbin/upsd" in before
    chroot.install(deb)
    assert chroot.run("dpkg", "--verify", "nut-server", "nut-client") == ""
    assert chroot.run("dpkg", "--audit") == ""
    assert "/etc/nut/nut.conf" in chroot.run("upsd", "-V")
    chroot.run("dpkg", "--purge", "upsd")
    assert {path: (chroot.root / path.lstrip("/")).lstat().st_mtime_ns for path in chroot.nut} == before


def test_a_name_that_nut_has_taken_is_told(chroot: Chroot, deb: Path) -> None:
    """Whoever of the two comes second, and whenever somebody asks for the status."""
    hidden = "second name of NUT's server"
    chroot.give_back_the_name()
    assert hidden not in chroot.install(deb)
    assert hidden not in chroot.run("upsctl", "status", status=3)
    (chroot.root / UNIT).symlink_to(NUT_UNIT)
    assert hidden in chroot.run("dpkg-trigger", "--by-package=nut-server", NUT_UNIT) + chroot.run(
        "dpkg", "--configure", "-a"
    )
    assert hidden in chroot.run("upsctl", "status", status=3)
    assert hidden in chroot.install(deb)
    chroot.run("dpkg", "--purge", "upsd")
    assert (chroot.root / UNIT).is_symlink()


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    """Neither errors nor warnings."""
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    said = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", deb], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (0, "")
