"""What is in the Debian package, as it is built here; tests/vm installs it on the distributions."""

from __future__ import annotations

import filecmp
import gzip
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from upsd import __version__
from upsd.ctl.parser import build_parser
from upsd.ctl.system_files import SYSTEM_FILES
from upsd.settings import Settings, load_settings
from upsd.settings_problems import table_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pydantic import BaseModel

    from upsd.ctl.system_files import SystemFile

# Whoever comes first builds it, which takes some twenty seconds where nothing else runs.
pytestmark = pytest.mark.timeout(400)
ROOT = Path(__file__).parents[2]
SCRIPTS = (
    "DEBIAN/postinst",
    "DEBIAN/prerm",
    "DEBIAN/postrm",
    "usr/share/python3/runtime.d/upsd.rtupdate",
    "usr/lib/systemd/system-shutdown/upsd-late",
)


def said(*command: str | Path) -> str:
    """What a program says; without it on this machine, the test is skipped."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed, see tests/apt-packages")
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from this source tree."""
    for program in ("dpkg-deb", "strip"):
        said(program, "--version")
    directory = tmp_path_factory.mktemp("package")
    subprocess.run([sys.executable, "-m", "debian", directory], cwd=ROOT / "config", check=True, timeout=390)
    return directory / f"upsd_{__version__}-1_amd64.deb"


@pytest.fixture(scope="module")
def root(package: Path) -> Path:
    """The package's files, unpacked, with its control files in DEBIAN."""
    directory = package.parent / "root"
    said("dpkg-deb", "--raw-extract", package, directory)
    return directory


def rights(path: Path) -> int:
    """Who may do what with it."""
    return stat.S_IMODE(path.stat().st_mode)


def page(root: Path, name: str) -> str:
    """A manual page, without what roff needs to keep a sign as it is."""
    text = gzip.decompress((root / f"usr/share/man/man{name[-1]}/{name}.gz").read_bytes()).decode()
    return text.replace("\\-", "-")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """It, and those of all its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from parsers(command)


def keys(model: type[BaseModel]) -> Iterator[str]:
    """The name of each setting."""
    for name, field in model.model_fields.items():
        inner = table_of(field)
        yield from keys(inner) if inner else (name,)


PARSERS = list(parsers(build_parser()))


@pytest.mark.parametrize("file", SYSTEM_FILES, ids=lambda file: file.source)
def test_systemd_and_the_others_get_their_files_as_they_are_in_the_repository(root: Path, file: SystemFile) -> None:
    """The units name the package's own Python."""
    path = root / file.packaged.relative_to("/")
    assert path.read_text(encoding="utf-8") == (ROOT / file.source).read_text(encoding="utf-8")
    assert rights(path) == file.mode


def test_the_settings_are_the_only_file_that_belongs_to_the_administrator(root: Path) -> None:
    """An upgrade keeps what was changed there, and asks nothing as long as the packaged file is the same."""
    assert (root / "DEBIAN/conffiles").read_text(encoding="utf-8") == "/etc/upsd/upsd.toml\n"


def test_as_installed_it_contacts_nobody(root: Path) -> None:
    """The daemon starts with the packaged settings: it only watches a UPS on USB."""
    settings = load_settings(root / "etc/upsd/upsd.toml", {})
    assert (settings.mqtt, settings.kubernetes, settings.nas, settings.datastore) == (None, None, None, None)
    assert (settings.workers, settings.loads) == ((), ())


def test_the_tutorial_and_the_helpers_are_where_upsctl_looks_for_them(root: Path) -> None:
    """Beside its modules, as in the wheel; a person finds them in /usr/share."""
    files = root / "usr/lib/upsd/lib/python3/site-packages/upsd/ctl/files/config"
    assert files.resolve() == root / "usr/share/upsd"
    for name in ("upsd.toml", "worker/upsd-worker", "worker/install.sh", "nas/upsd-nas", "k3s/upsd-rbac.yaml"):
        assert (files / name).read_bytes() == (ROOT / "config" / name).read_bytes()
        # Whatever the umask of who has cloned it.
        assert rights(files / name) == rights(ROOT / "config" / name) & 0o755 | 0o644
    assert (root / "usr/share/doc/upsd/examples/upsd.toml").resolve() == root / "usr/share/upsd/upsd.toml"


def test_what_is_compiled_is_there_for_every_python(root: Path) -> None:
    """Debian 12, Ubuntu 24.04 and Debian 13; the control file allows no other."""
    packages = root / "usr/lib/upsd/lib/python3/site-packages"
    found = {
        version: {path.name.partition(".")[0] for path in packages.rglob(f"*.cpython-{version}-x86_64-linux-gnu.so")}
        for version in ("311", "312", "313")
    }
    assert found["311"] == found["312"] == found["313"] == {"_cffi_backend", "_core", "_pydantic_core"}
    assert "python3 (>= 3.11~), python3 (<< 3.14)" in (root / "DEBIAN/control").read_text(encoding="utf-8")
    for version in ("3.11", "3.12", "3.13"):
        assert (root / f"usr/lib/upsd/lib/python{version}").resolve() == packages.parent


def test_it_has_no_file_in_common_with_nut(package: Path) -> None:
    """NUT's server is an upsd too: /usr/sbin/upsd, upsd(8), upsd.conf(5)."""
    ours = {line.split()[5].removeprefix(".").rstrip("/") for line in said("dpkg-deb", "-c", package).splitlines()}
    directories = {str(parent) for path in ours for parent in Path(path).parents} | {""}
    nut = set(said("dpkg", "-L", "nut-server", "nut-client").split())
    assert "/usr/share/man/man8/upsd.8.gz" in nut
    nut |= {f"/usr{path}" for path in nut if path.startswith(("/lib/", "/sbin/", "/bin/"))}
    assert (ours - directories) & nut == set()


@pytest.mark.parametrize("parser", PARSERS, ids=[parser.prog for parser in PARSERS])
def test_the_manual_has_every_command_with_its_options_and_examples(
    root: Path, parser: argparse.ArgumentParser
) -> None:
    """It is made from the parser itself, which nobody has to remember."""
    text = page(root, "upsctl.1")
    assert parser.prog == "upsctl" or f"\n.SS {parser.prog}\n" in text
    for action in parser._actions:
        assert not action.option_strings or ", ".join(action.option_strings) in text
    (*_, example) = [line.strip() for line in (parser.description or "").splitlines() if line.startswith("  ")]
    assert example.replace("'", "\\(aq") in text


@pytest.mark.parametrize("key", sorted(set(keys(Settings))))
def test_the_manual_has_every_setting(root: Path, key: str) -> None:
    """It is made from the tutorial."""
    assert re.search(rf"^\\fB{key} = .+\\fR$", page(root, "upsd.toml.5"), re.MULTILINE)


def test_the_manual_tells_what_the_daemon_is_called_with(root: Path) -> None:
    """The one page that is written by hand."""
    text = page(root, "upsd.service.8")
    usage = said(sys.executable, "-m", "upsd", "--help")
    assert all(option in text for option in re.findall(r"--(?!help)[a-z]+", usage))
    credentials = re.findall(r"^LoadCredential=(.+)$", (ROOT / "systemd/upsd.service").read_text(), re.MULTILINE)
    assert all(f".B {name}\n" in text for name in credentials)


@pytest.mark.parametrize(
    "path",
    [
        "usr/share/bash-completion/completions/upsctl",
        "usr/share/zsh/vendor-completions/_upsctl",
        "usr/share/fish/vendor_completions.d/upsctl.fish",
    ],
)
def test_the_shells_complete_every_command(root: Path, path: str) -> None:
    """Made from the parser, too."""
    text = (root / path).read_text(encoding="utf-8")
    assert [parser.prog for parser in PARSERS if parser.prog.split()[-1] not in text] == []


def test_bash_takes_its_completion_and_completes(root: Path) -> None:
    """As if somebody typed `upsctl ups pan` and the tabulator."""
    completion = root / "usr/share/bash-completion/completions/upsctl"
    script = (
        f'. {completion}; COMP_WORDS=(upsctl ups pan); COMP_CWORD=2; "$(complete -p upsctl | sed "s/.*-F //; s/ .*//")"'
    )
    assert said("bash", "-c", f'{script}; echo "${{COMPREPLY[@]}}"').split() == ["panel-test"]


def test_each_package_that_is_carried_has_its_licence(root: Path) -> None:
    """In /usr/share/doc/upsd/copyright, as Debian wants it."""
    text = (root / "usr/share/doc/upsd/copyright").read_text(encoding="utf-8")
    locked = re.findall(r"^([\w-]+)==(\S+)", (ROOT / ".requirements.lock").read_text(), re.MULTILINE)
    sections = re.findall(r"^(\S+) (\S+) \(in /usr/lib/upsd\)\n=+\n\n(.{20})", text, re.MULTILINE | re.DOTALL)
    carried = {(name.lower().replace("_", "-"), version) for name, version, _ in sections}
    assert carried == {pair for pair in locked if pair[0] != "httpx2-jsfetch"}
    assert (ROOT / "LICENSE").read_text(encoding="utf-8") in text


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_dpkg_runs_is_sound(root: Path, script: str) -> None:
    """As shellcheck sees it."""
    assert said("shellcheck", root / script) == ""
    assert rights(root / script) == 0o755


def test_who_packs_the_same_again_gets_the_same(root: Path, package: Path, tmp_path: Path) -> None:
    """Bit by bit, whoever it is, wherever and whenever: all is root's and of the time of the commit."""
    tree = tmp_path / "tree"
    shutil.copytree(root, tree, symlinks=True, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("DEBIAN"))
    program = "import sys; from pathlib import Path; from debian.archive import build; build(*map(Path, sys.argv[1:]))"
    command = [sys.executable, "-c", program, str(tree), str(tmp_path)]
    environment = {**os.environ, "TZ": "Pacific/Auckland"}
    subprocess.run(command, cwd=ROOT / "config", env=environment, umask=0o077, check=True, timeout=120)
    assert filecmp.cmp(package, tmp_path / package.name, shallow=False)
    assert {line.split()[1] for line in said("dpkg-deb", "-c", package).splitlines()} == {"root/root"}
