"""Where everything lies in the package. What systemd and others read is in the table of upsd/ctl/system_files.py."""

from __future__ import annotations

import gzip
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from debian.copyright import copyright_text
from debian.manual import manual_pages
from debian.release import changelog
from debian.vendor import PYTHONS, vendor
from upsd.ctl.parser import build_parser
from upsd.ctl.system_files import PACKAGED_PREFIX, SYSTEM_FILES

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
# Which completions, where: as each shell looks for them.
_COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/upsctl",
    "zsh": "usr/share/zsh/vendor-completions/_upsctl",
    "fish": "usr/share/fish/vendor_completions.d/upsctl.fish",
}


def lay_out(root: Path) -> None:
    """Put the whole tree there, as it will lie on the machine."""
    prefix = root / PACKAGED_PREFIX.lstrip("/")
    packages = prefix / "lib/python3/site-packages"
    licences = vendor(packages)
    _private_environment(prefix)
    _our_code(packages)
    _shared(root, packages)
    for file in SYSTEM_FILES:
        _put(root / file.packaged.relative_to("/"), (_ROOT / file.source).read_text(encoding="utf-8"), file.mode)
    _put(root / "etc/upsd/upsd.toml", (_HERE / "upsd.toml").read_text(encoding="utf-8"))
    for source, goal in (("upsctl", "usr/bin/upsctl"), ("rtupdate", "usr/share/python3/runtime.d/upsd.rtupdate")):
        _put(root / goal, (_HERE / source).read_text(encoding="utf-8"), 0o755)
    _documents(root, licences)
    _completions(root)


def _put(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _private_environment(prefix: Path) -> None:
    """A virtual environment of the distribution's Python, which sees our packages and no other."""
    _put(prefix / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    _link(prefix / "bin/python3", "../../../bin/python3")
    for version in PYTHONS:
        _link(prefix / f"lib/python{version}", "python3")


def _our_code(packages: Path) -> None:
    for path in sorted((_ROOT / "upsd").rglob("*.py")):
        _put(packages / path.relative_to(_ROOT), path.read_text(encoding="utf-8"))


def _shared(root: Path, packages: Path) -> None:
    """What is for other machines, and the settings as a tutorial; `upsctl` finds them where the wheel has them."""
    for path in _given_to_others():
        _put(root / "usr/share/upsd" / path.relative_to(_ROOT / "config"), path.read_text(encoding="utf-8"))
    _link(packages / "upsd/ctl/files/config", "../../../../../../../../share/upsd")
    _link(root / "usr/share/doc/upsd/examples/upsd.toml", "../../../upsd/upsd.toml")


def _given_to_others() -> Iterator[Path]:
    """Those of the wheel's files that are in `config/`."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for source in project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]:
        if source.startswith("config/"):
            place = _ROOT / source
            yield from [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())


def _documents(root: Path, licences: dict[str, str]) -> None:
    documents = root / "usr/share/doc/upsd"
    _put(documents / "copyright", copyright_text(licences))
    for path in (_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))):
        _put(documents / path.relative_to(_ROOT), path.read_text(encoding="utf-8"))
    _put_gzip(documents / "changelog.gz", (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    _put_gzip(documents / "changelog.Debian.gz", changelog())
    for name, text in manual_pages().items():
        _put_gzip(root / f"usr/share/man/man{name[-1]}/{name}.gz", text)
    _put(root / "usr/share/lintian/overrides/upsd", (_HERE / "lintian-overrides").read_text(encoding="utf-8"))


def _put_gzip(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def _completions(root: Path) -> None:
    import shtab  # noqa: PLC0415 - the manual pages do without

    for shell, path in _COMPLETIONS.items():
        _put(root / path, shtab.complete(build_parser(), shell=shell))
