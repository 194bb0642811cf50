from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from upsd.publish.client_identifier import client_identifier

if TYPE_CHECKING:
    from pathlib import Path

MACHINE_ID = "0123456789abcdef0123456789abcdef"


def test_the_identity_of_the_machine_is_never_shown_to_the_broker(tmp_path: Path) -> None:
    """What is in /etc/machine-id is confidential: others derive their keys from it."""
    file = tmp_path / "machine-id"
    file.write_text(f"{MACHINE_ID}\n")
    name, _, mark = client_identifier("upsd/iplug", file).rpartition("-")
    assert name == "upsd-iplug"
    assert len(mark) == 8
    assert mark not in MACHINE_ID


def test_the_same_machine_is_recognised_after_a_restart_and_another_one_is_not(tmp_path: Path) -> None:
    """Only our own half-dead connection may be taken over."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_text(f"{MACHINE_ID}\n")
    there.write_text(f"{MACHINE_ID[::-1]}\n")
    assert client_identifier("upsd/iplug", here) == client_identifier("upsd/iplug", here)
    assert client_identifier("upsd/iplug", here) != client_identifier("upsd/iplug", there)
    assert client_identifier("upsd/iplug", here) != client_identifier("upsd/garage", here)


@pytest.mark.parametrize("content", [None, b"", b"uninitialized\n", b"\xff\xfe"])
def test_without_an_identity_the_name_alone_has_to_do(tmp_path: Path, content: bytes | None) -> None:
    """A container or an image before its first boot reaches its broker all the same."""
    file = tmp_path / "machine-id"
    if content is not None:
        file.write_bytes(content)
    assert client_identifier("upsd/iplug", file) == "upsd-iplug"
