"""A real Mosquitto that tests can start, kill and start again, and real subscribers to it."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import trustme

DEADLINE_S = 10.0


class Message(NamedTuple):
    """What a subscriber received."""

    topic: str
    retained: bool
    payload: str


async def until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait until the condition holds; `TimeoutError` if it does not in time."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - the condition is a foreign process's, it has no event
            await asyncio.sleep(0.01)


@dataclass
class Subscriber:
    """A running `mosquitto_sub` and what it has received so far."""

    process: asyncio.subprocess.Process
    messages: list[Message] = field(default_factory=list)

    def payloads(self, ending: str) -> list[str]:
        """The payloads of the topics with this ending, oldest first."""
        return [message.payload for message in self.messages if message.topic.endswith(ending)]

    async def read(self) -> None:
        """Collect messages until the process ends."""
        assert self.process.stdout
        async for line in self.process.stdout:
            topic, retained, payload = line.decode().rstrip("\n").split("\t", 2)
            self.messages.append(Message(topic, retained == "1", payload))


@dataclass
class Broker:
    """A Mosquitto that can be started, stopped and started again on the same port."""

    directory: Path
    port: int
    authority: trustme.CA | None = None
    login: tuple[str, str] | None = None
    names: tuple[str, ...] = ("127.0.0.1",)
    host: str = "127.0.0.1"
    process: asyncio.subprocess.Process | None = None

    @property
    def ca_file(self) -> Path:
        """The certificate of the CA that signed the broker's."""
        return self.directory / "ca.pem"

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self.process = await asyncio.create_subprocess_exec(
            program("mosquitto", "mosquitto"),
            "-c",
            str(await self._configuration()),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(DEADLINE_S):
            while not await self._listens():  # noqa: ASYNC110 - a foreign process's condition has no event
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Kill it, as a power cut would."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    @asynccontextmanager
    async def subscriber(self, *topics: str) -> AsyncIterator[Subscriber]:
        """A `mosquitto_sub` that is known to be subscribed."""
        ready = await asyncio.create_subprocess_exec(
            program("mosquitto_pub", "mosquitto-clients"), *self._reach(), "-t", "ready", "-r", "-m", "ready"
        )
        assert await ready.wait() == 0
        process = await asyncio.create_subprocess_exec(
            program("mosquitto_sub", "mosquitto-clients"),
            *self._reach(),
            *("-F", "%t\t%r\t%p", "-q", "1"),
            *(argument for topic in (*topics, "ready") for argument in ("-t", topic)),
            stdout=asyncio.subprocess.PIPE,
        )
        subscriber = Subscriber(process)
        reading = asyncio.create_task(subscriber.read())
        try:
            await until(lambda: any(message.topic == "ready" for message in subscriber.messages))
            yield subscriber
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading

    def _reach(self) -> list[str]:
        login = ["-u", self.login[0], "-P", self.login[1]] if self.login else []
        trust = ["--cafile", str(self.ca_file)] if self.authority else []
        return ["-h", self.host, "-p", str(self.port), *login, *trust]

    async def _listens(self) -> bool:
        assert self.process
        assert self.process.returncode is None, "mosquitto ended at once"
        try:
            _, writer = await asyncio.open_connection(self.host, self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    async def _configuration(self) -> Path:
        lines = [f"listener {self.port} {self.host}", "persistence false"]
        if os.geteuid() == 0:
            lines.append("user root")  # it would step down to a user who can't read our files
        lines += await self._login_lines() if self.login else ["allow_anonymous true"]
        if self.authority:
            lines += self._certificate_lines(self.authority)
        path = self.directory / "mosquitto.conf"
        path.write_text("\n".join(lines) + "\n")
        return path

    async def _login_lines(self) -> list[str]:
        assert self.login
        path = self.directory / "passwords"
        setting = await asyncio.create_subprocess_exec(
            program("mosquitto_passwd", "mosquitto"), "-b", "-c", str(path), *self.login
        )
        assert await setting.wait() == 0
        return ["allow_anonymous false", f"password_file {path}"]

    def _certificate_lines(self, authority: trustme.CA) -> list[str]:
        certificate = authority.issue_cert(*self.names)
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate.private_key_pem.write_to_path(str(self.directory / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(self.directory / "cert.pem"))
        return [f"certfile {self.directory / 'cert.pem'}", f"keyfile {self.directory / 'key.pem'}"]


def program(name: str, package: str) -> str:
    """The path of an installed program; the test fails, naming the package, if it is missing."""
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        pytest.fail(f"{name} is missing: apt-get install {package}")
    return path
