"""The virtual rack: real machines on the outlets of a simulated UPS, with a broker and the Kubernetes API beside them.

When the UPS switches its outlets off, every machine is gone that instant. Before they boot again their disks are
judged, as somebody would who takes them out of the machines. The battery lives in real time; only the delays of the
UPS's commands are shortened.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import asyncssh

from hardware_sim.kubernetes import SimulatedKubernetes
from hardware_sim.rack import WATTS
from hardware_sim.ups.bridge import bridge_to
from hardware_sim.ups.narrator import HeardDevice, narrate
from hardware_sim.ups.rig import Rig
from hardware_sim.ups.server import let_time_pass
from hardware_sim.ups.usbip import UsbIpServer
from tests.integration.brokers import Broker, until
from tests.integration.outage import manifest_rights, small_cluster
from tests.vm.cache import run
from tests.vm.disks import inspected
from tests.vm.machines import Container, Guest
from tests.vm.master import prove_and_arm, state_on_line
from tests.vm.network import HERE
from tests.vm.roles import MASTER, NAS, NUMBERS, WORKERS, make_identity, make_master, make_nas, make_worker, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path
    from types import TracebackType

    from tests.integration.brokers import Subscriber
    from tests.vm.disks import Inspection
    from tests.vm.image import Image
    from tests.vm.machines import Machine

BOOT_S: Final = 600.0
"""The most that booting the whole rack may take, where others use the processors too; alone it takes half a minute."""
_TIMER_SPEEDS: Final = (0.25, 4.0)
_OUTLET_OFF_DELAY_S: Final = 60
_TICK_S: Final = 0.1
_WRITER_PORT: Final = 7000
_IN_QEMU: Final = "pi4-a"
"""The worker that has a kernel and a disk of its own."""


class Happening(NamedTuple):
    """What was seen from outside, and when on the event loop's clock."""

    at: float
    text: str


class VirtualRack:
    """Everything, while it is entered, from the first boot on; `directory` keeps disks, consoles and captures."""

    def __init__(self, directory: Path, image: Image, master_disk: Path) -> None:
        self.directory = directory
        self.happenings: list[Happening] = []
        self.inspections: list[dict[str, Inspection]] = []
        self.acknowledged: dict[str, int] = {}
        self.boots: dict[str, list[str]] = {}
        self._boots_before: dict[str, int] = {}
        self._log = directory / "rack.log"
        self._rig = Rig(make=self._make_ups)
        self.device = self._rig.device
        self.kubernetes = SimulatedKubernetes(small_cluster(dict.fromkeys(WORKERS, 5.0)), host=HERE)
        self.kubernetes.rights = self.rights = manifest_rights()
        self._image = image
        self._master_disk = master_disk
        self._open = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._judged = asyncio.Event()
        self._serving = True
        self.machines: dict[str, Machine] = {}
        self.subscriber: Subscriber

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            await self._start(opening)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    # What is around the machines

    async def _start(self, opening: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        (self.directory / "broker").mkdir()
        broker = Broker(self.directory / "broker", 1883, host=HERE)
        opening.push_async_callback(broker.stop)
        await broker.start()
        self.subscriber = await opening.enter_async_context(broker.subscriber("upsd/#"))

        await self.kubernetes.start()
        opening.push_async_callback(self.kubernetes.stop)

        self.device.advance(loop.time())
        narrate(self._rig, self.note)
        self.device.listen(self._feed)
        bridge = bridge_to(self.device, faults=self._rig.faults)
        await opening.enter_async_context(UsbIpServer(self.device, bridge, host=HERE))

        transport, _ = await loop.create_datagram_endpoint(lambda: _Heard(self._hear), local_addr=(HERE, _WRITER_PORT))
        opening.callback(transport.close)
        opening.push_async_callback(self._stop_tasks)
        self._keep(let_time_pass(self.device, _TICK_S))

        opening.push_async_callback(self._take_down)
        self._build()
        self._keep(self._boot())

    def _make_ups(self, *arguments: Any, **options: Any) -> HeardDevice:
        options |= {"load_w": self._load_w}
        return HeardDevice(self.note, *arguments, **options)

    def _load_w(self) -> float:
        return WATTS["switch"] + sum(WATTS[name] for name, machine in self.machines.items() if machine.runs)

    def _build(self) -> None:
        for name, number in NUMBERS.items():
            directory = self.directory / name
            if name == MASTER:
                machine: Machine = Guest(name, number, self._image, directory, memory_mib=512)
                run("cp", "--sparse=always", self._master_disk, directory / "root.ext4")
            elif name == _IN_QEMU:
                machine = Guest(name, number, self._image, directory)
            else:
                machine = Container(name, number, self._image, directory)
            machine.on_change = self._went_off
            self.machines[name] = machine
        self._furnish()

    def _furnish(self) -> None:
        key = self.directory / "upsd_key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"upsd@{MASTER}", "-f", key)
        settings_file = self.directory / "upsd.toml"
        settings_file.write_text(settings(_OUTLET_OFF_DELAY_S))
        known_hosts = ""
        for name in (NAS, *WORKERS):
            with self.machines[name].root() as root:
                known_hosts += f"{self.machines[name].address} {make_identity(self.machines[name], root)}\n"
                if name == NAS:
                    make_nas(root, key)
                else:
                    make_worker(root, key, settings_file)
        kubeconfig = self.directory / "kubeconfig"
        self.kubernetes.write_kubeconfig(kubeconfig)
        files = {
            "upsd.toml": settings_file.read_text(),
            "known_hosts": known_hosts,
            "kubeconfig": kubeconfig.read_text(),
        }
        with self.machines[MASTER].root() as root:
            make_identity(self.machines[MASTER], root)
            make_master(root, key, files)

    async def _boot(self) -> None:
        for machine in self.machines.values():
            machine.power(on=True)

    # Power

    def cut_mains(self) -> None:
        """Pull the plug of the UPS."""
        self.note("the mains is cut")
        self.device.cut_mains()

    def restore_mains(self) -> None:
        """Put it back."""
        self.note("the mains is back")
        self.device.restore_mains()

    @contextmanager
    def cable_pulled(self) -> Iterator[None]:
        """The USB cable is out while the block lasts."""
        faults = self._rig.faults
        before, faults.unplugged = faults.unplugged, True
        try:
            yield
        finally:
            faults.unplugged = before

    def freeze(self, name: str) -> None:
        """Let a container hang until its power is cut."""
        machine = self.machines[name]
        assert isinstance(machine, Container)
        self.note(f"{name} hangs")
        machine.freeze()

    def _feed(self, on: bool) -> None:  # noqa: FBT001  # fits the listener of an outlet
        if on:
            self._keep(self._feed_again())
            return
        self._judged.clear()
        for machine in self.machines.values():
            machine.power(on=False)
        self._keep(self._judge())

    async def _judge(self) -> None:
        """Look at all disks, as long as the outlets are off."""
        acknowledged = dict(self.acknowledged)
        for machine in self.machines.values():
            await machine.off()
        found = {
            name: await asyncio.to_thread(inspected, machine, acknowledged.get(name, 0))
            for name, machine in self.machines.items()
        }
        for name, inspection in found.items():
            self.note(f"{name}: {inspection}")
        self.inspections.append(found)
        self._judged.set()

    async def _feed_again(self) -> None:
        await self._judged.wait()
        self.note("every machine has power")
        await self._boot()

    def _went_off(self, machine: Machine) -> None:
        self.note(f"{machine.name} is off: {machine.ends[-1].value}")
        if machine.name == MASTER:
            self._serving = False
            self._keep(self.kubernetes.stop())
        elif machine.name in WORKERS:
            self.kubernetes.cluster.node_down(machine.name)

    def _hear(self, name: str, boot: str, number: int) -> None:
        """A machine says that the line with this number is on its disk."""
        self.acknowledged[name] = max(number, self.acknowledged.get(name, 0))
        boots = self.boots.setdefault(name, [])
        if boot in boots or not self.machines[name].runs:
            return
        boots.append(boot)
        self.note(f"{name} has booted")
        if len(boots) > 1 and name in WORKERS:
            self.kubernetes.cluster.node_up(name)
        elif len(boots) > 1 and name == MASTER:
            self._keep(self._find_its_ports())

    async def _find_its_ports(self) -> None:
        """The master has booted again: k3s serves, and its UPS is a new device.

        Over TCP nobody has noticed that the kernel at the other end of the cable is gone.
        """
        with self.cable_pulled():
            await asyncio.sleep(5 * _TICK_S)
        if not self._serving:
            await self.kubernetes.start()
        self._serving = True

    # What people do

    async def prepare(self) -> None:
        """Wait until it has booted for the first time, prove its plan and arm it, as the README says."""
        began = asyncio.get_running_loop().time()
        await self.until(lambda: self.boots_since({}), "all machines boot", BOOT_S)
        await self.until(lambda: self.retained("state").get("power") == "on_line", "upsd reads the UPS", BOOT_S)
        booted_s = asyncio.get_running_loop().time() - began
        slowest, fastest = _TIMER_SPEEDS
        # A quarter of that; the master needs half of it to halt.
        self.device.timer_speed = min(fastest, max(slowest, _OUTLET_OFF_DELAY_S / (booted_s / 4)))
        self.note(
            f"booted within {booted_s:.0f} s; the delays of the UPS are {self.device.timer_speed:.1f} times as fast"
        )
        await self.on(MASTER, "systemctl start mnt-nas.mount")
        await prove_and_arm(self)

    async def start_cold(self) -> None:
        """Cut all machines from their mains and feed them again, unless nothing was done since they have booted."""
        if self.is_cold:
            return
        self.note("a cold start")
        before = self.boot_counts()
        self._feed(on=False)
        self._feed(on=True)
        await self.until(lambda: self.boots_since(before), "all machines boot", BOOT_S)
        await self.on(MASTER, "systemctl start mnt-nas.mount")
        assert (await state_on_line(self))["readiness"]["armed"]

    def begin(self, test: str) -> None:
        """Write down that a test begins; `is_cold` counts from here."""
        self.note(f"--- {test}")
        self._boots_before = self.boot_counts()

    @property
    def is_cold(self) -> bool:
        """Whether every machine has booted since the latest test began, or since the rack was made if none did."""
        return self.boots_since(self._boots_before)

    def boot_counts(self) -> dict[str, int]:
        """How often each machine has booted."""
        return {name: len(self.boots.get(name, ())) for name in self.machines}

    def boots_since(self, before: dict[str, int]) -> bool:
        """Whether every machine has booted since it had booted so often."""
        return all(count > before.get(name, 0) for name, count in self.boot_counts().items())

    # What can be seen

    def note(self, text: str) -> None:
        """Write down what has happened."""
        at = asyncio.get_running_loop().time()
        self.happenings.append(Happening(at, text))
        with self._log.open("a") as log:
            log.write(f"{at - self.happenings[0].at:9.2f} s  {text}\n")

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event on MQTT."""
        return [json.loads(payload) for payload in self.subscriber.payloads("/event")]

    def retained(self, topic: str) -> dict[str, Any]:
        """The latest document of a topic on MQTT; empty before the first."""
        payloads = self.subscriber.payloads(f"/{topic}")
        found: dict[str, Any] = json.loads(payloads[-1]) if payloads else {}
        return found

    async def until(self, holds: Callable[[], object], what: str, within_s: float) -> None:
        """Wait for something that can be seen from outside.

        Raises:
            AssertionError: it did not come in time; the message says what.
        """
        try:
            await until(holds, within_s)
        except TimeoutError:
            raise AssertionError(f"not within {within_s:g} s: {what}") from None

    async def on(self, machine: str, command: str, *, check: bool = True, within_s: float = 180.0) -> str:
        """What a command says that root runs there; both of its outputs."""
        place = self.machines[machine]
        async with asyncssh.connect(
            place.address, username="root", client_keys=[str(self._image.key)], known_hosts=None, config=None
        ) as connection:
            done = await connection.run(command, stderr=asyncssh.STDOUT, timeout=within_s)
        said = str(done.stdout)
        with self._log.open("a") as log:
            log.write(f"             {machine}# {command}\n{said}")
        assert not check or done.exit_status == 0, f"{machine}: {command}: {said}"
        return said

    # The end

    def captures(self) -> list[Path]:
        """The files that tell what happened: what was seen of the UPS and the machines, and all of MQTT."""
        mqtt = self.directory / "mqtt.log"
        mqtt.write_text("".join(f"{message.topic} {message.payload}\n" for message in self.subscriber.messages))
        return [self._log, mqtt]

    async def cut_everything(self) -> None:
        """Take the power from all machines, and leave them so."""
        for machine in self.machines.values():
            machine.power(on=False)
        for machine in self.machines.values():
            await machine.off()

    async def _take_down(self) -> None:
        await self.cut_everything()
        for machine in self.machines.values():
            machine.remove()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Heard(asyncio.DatagramProtocol):
    def __init__(self, hear: Callable[[str, str, int], None]) -> None:
        self._hear = hear

    def datagram_received(self, data: bytes, _: Any) -> None:
        name, boot, number = data.decode().split()
        self._hear(name, boot, int(number))
