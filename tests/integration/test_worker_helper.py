"""The forced command of a worker, the real script, under each shell that a worker may have."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.sshd import children_of
from tests.integration.worker import FORCED, FORCED_WITHOUT_SYSTEMD, HELPER, SHELLS, Worker, nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOPPED = ["systemctl stop k3s-agent", "systemctl stop k3s"]
OFF = ["sync", "systemctl poweroff", "sync", FORCED]


@pytest.fixture(params=SHELLS)
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A worker with that shell; not below `tmp_path`, which only its owner may enter."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Worker(Path(directory), request.param)


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    """A worker with each shell, for what takes its time."""
    with contextlib.ExitStack() as stack:
        directories = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in SHELLS]
        for directory in directories:
            directory.chmod(0o755)
        yield [Worker(directory, shell) for directory, shell in zip(directories, SHELLS, strict=True)]


def at_once(workers: list[Worker], try_it: Callable[[Worker], None]) -> None:
    """Try it with all of them at the same time."""
    with ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(try_it, workers))


def test_shellcheck_finds_nothing_to_say() -> None:
    """Neither in what it does nor in what another shell than ours would do."""
    if shutil.which("shellcheck") is None:
        pytest.fail("shellcheck is missing: install the package shellcheck")
    scripts = [HELPER, HELPER.with_name("install.sh")]
    checked = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert checked.stdout == ""


def test_a_raspberry_pi_tells_how_it_is(worker: Worker) -> None:
    """The firmware knows best how hot it is, and whether its supply is too weak."""
    worker.stand_in("vcgencmd", 'case $1 in measure_temp) echo "temp=51.5\'C" ;; *) echo throttled=0x50001 ;; esac')
    worker.stand_in("systemctl", "[ $2 != k3s-agent ] || echo active")
    worker.put("sys/fs/ext4/mmcblk0p2/errors_count", "0")
    block = worker.root / "sys" / "dev" / "block"
    block.mkdir(parents=True)
    (block / "179:2").symlink_to("../../devices/mmc/mmcblk0p2")
    assert worker.status() == {
        "version": "1",
        "uptime_s": "93",
        "load_1m": "0.42",
        "temperature_c": "51.5",
        "throttled": "0x50001",
        "under_voltage": "1",
        "under_voltage_seen": "1",
        "root_free_percent": "58",
        "root_read_only": "0",
        "root_errors": "0",
        "k3s": "active",
        "poweroff": "none",
    }


def test_the_kernel_tells_what_the_firmware_does_not(worker: Worker) -> None:
    """Where its user may not ask the firmware, the kernel's files are looked at, and the hottest counts."""
    worker.stand_in("vcgencmd", "echo 'VCHI initialization failed'; exit 1")
    worker.put("sys/class/thermal/thermal_zone0/temp", "47774")
    worker.put("sys/class/thermal/thermal_zone1/temp", "61022")
    worker.put("sys/devices/platform/soc/soc:firmware/get_throttled", "50000")
    told = worker.status()
    assert told["temperature_c"] == "61.0"
    assert (told["throttled"], told["under_voltage"], told["under_voltage_seen"]) == ("0x50000", "0", "1")


def test_a_weak_supply_is_told_by_its_sensor_alone(worker: Worker) -> None:
    """Newer kernels have a sensor for it, and no flags."""
    worker.put("sys/class/hwmon/hwmon0/name", "cpu_thermal")
    worker.put("sys/class/hwmon/hwmon1/name", "rpi_volt")
    worker.put("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1")
    told = worker.status()
    assert told["under_voltage"] == "1"
    assert "throttled" not in told


def test_a_disk_that_went_bad_is_told(worker: Worker) -> None:
    """The kernel makes it read-only, and counts errors."""
    worker.put("proc/self/mountinfo", "26 1 8:1 / / ro,noatime shared:1 - ext4 /dev/sda1 rw")
    assert worker.status()["root_read_only"] == "1"


def test_what_is_not_known_is_not_told(worker: Worker) -> None:
    """A value that nobody has measured does not turn up as zero."""
    assert set(worker.status()) == {
        *("version", "uptime_s", "load_1m", "root_free_percent", "root_read_only", "k3s", "poweroff"),
    }


@pytest.mark.parametrize(
    "command", ["", "reboot", "sync", "status; reboot", "poweroff --force", "as-root run", "sudo -n systemctl poweroff"]
)
def test_nothing_else_is_allowed(worker: Worker, command: str) -> None:
    """Whoever has the key has four words."""
    answer = worker.ask(command)
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"upsd-worker: not allowed: {command or 'a login'}; only status, poweroff, cancel")
    assert worker.calls == []


def test_who_is_not_root_can_t_pass_for_the_second_half(worker: Worker) -> None:
    """What runs as root is begun by sudo, which knows two words."""
    called = subprocess.run(
        [worker.shell, worker.program, "as-root", "run"],
        env=dict(worker.environment),
        capture_output=True,
        text=True,
        check=False,
        **nobody(),
    )
    assert (called.returncode, called.stderr) == (1, "upsd-worker: as-root is for root\n")


def test_k3s_is_stopped_before_the_power_off_in_a_unit_of_its_own(worker: Worker) -> None:
    """One call through sudo; then everything without us."""
    assert worker.power_off() == [*STOPPED, *OFF]
    options = "--quiet --collect --unit=upsd-worker-poweroff --property=DefaultDependencies=no"
    assert worker.calls[:2] == [
        f"sudo -n {worker.program} as-root poweroff",
        f"systemd-run {options} {worker.program} as-root run",
    ]


def test_it_outlives_the_shutdown_to_force_it(worker: Worker) -> None:
    """As soon as systemd takes the power-off, it ends every unit that conflicts with that; then it may hang."""
    spared = f'case "$(cat {worker.calls_file})" in *" --property=DefaultDependencies=no "*) exit ;; esac'
    end_it = f'kill "$(cat {worker.root}/run/upsd-worker/pid)"'
    worker.stand_in("systemctl", f'[ "$*" = poweroff ] || exit 0\n{spared}\n{end_it}')
    assert worker.power_off() == [*STOPPED, *OFF]
    assert "still up after 0 s: forcing the power-off" in worker.log


def test_without_systemd_run_it_leaves_the_session_itself(worker: Worker) -> None:
    """Then the line that began it may be cut too."""
    worker.remove("systemd-run")
    assert worker.power_off() == [*STOPPED, *OFF]


def test_without_systemd_the_machine_goes_off_too(worker: Worker) -> None:
    """There is always a `poweroff`."""
    worker.remove("systemctl")
    assert worker.power_off() == ["sync", "poweroff", "sync", FORCED_WITHOUT_SYSTEMD]


def test_a_k3s_that_does_not_stop_is_killed(workers: list[Worker]) -> None:
    """A hung one has its time, and no more."""

    def try_it(worker: Worker) -> None:
        worker.configure(wait_s=0, force_s=0, k3s_s=1)
        worker.stand_in("systemctl", '[ "$*" != "stop k3s" ] || exec sleep 5')
        assert worker.power_off() == [*STOPPED, "systemctl kill --signal=KILL k3s", *OFF]
        assert "k3s has not stopped within 1 s" in worker.log

    at_once(workers, try_it)


def test_containers_are_asked_to_end_and_killed_only_after_their_time(workers: list[Worker]) -> None:
    """The first process of each is asked, as kubelet does it; its children are its own business."""

    def try_it(worker: Worker) -> None:
        worker.configure(wait_s=0, force_s=0, containers_s=1)
        heard = worker.root / "run" / "heard"
        child = f"trap 'echo child >>{heard}' TERM; wait_a_while"
        orderly = _process(f"trap 'echo orderly >>{heard}; exit' TERM; ({child}) & wait_a_while")
        stubborn = _process("trap '' TERM; wait_a_while")
        shim = _process("trap '' TERM; wait_a_while")
        cgroups = "sys/fs/cgroup"
        first = "\n".join(map(str, [orderly.pid, *children_of(orderly.pid)]))
        worker.put(f"{cgroups}/kubepods.slice/pod1/cri-1.scope/cgroup.procs", first)
        worker.put(f"{cgroups}/kubepods.slice/pod2/cri-2.scope/cgroup.procs", str(stubborn.pid))
        worker.put(f"{cgroups}/system.slice/k3s-agent.service/cgroup.procs", f"0\n1\n{shim.pid}")
        worker.power_off()
        assert [process.communicate(timeout=5) and process.returncode for process in (stubborn, shim, orderly)] == [
            -9,
            -9,
            0,
        ]
        assert heard.read_text() == "orderly\n"
        assert f"{stubborn.pid} " in worker.log.partition("has not ended in containers within 1 s: ")[2]

    at_once(workers, try_it)


def test_network_file_systems_are_unmounted_and_a_hung_one_is_detached(workers: list[Worker]) -> None:
    """The innermost first; one whose server is dead holds nothing up, and one that is in use is the shutdown's."""

    def try_it(worker: Worker) -> None:
        worker.configure(wait_s=0, force_s=0, unmount_s=2)
        worker.put(
            "proc/self/mounts",
            "/dev/root / ext4 rw 0 0\n"
            "nas:/a /mnt/a nfs4 rw 0 0\n"
            r"//nas/b /mnt/with\040blank cifs rw 0 0" + "\n"
            "nas:/c /mnt/busy nfs rw 0 0\n"
            "tmpfs /run tmpfs rw 0 0\n"
            "nas:/d /mnt/a/inner nfs4 rw 0 0",
        )
        worker.stand_in("umount", 'case $1 in /mnt/busy) exit 32 ;; "/mnt/with blank") exec sleep 5 ;; esac')
        unmounts = [call for call in worker.power_off() if call.startswith("umount")]
        assert unmounts == [
            "umount /mnt/a/inner",
            "umount /mnt/busy",
            "umount /mnt/with blank",
            "umount -l /mnt/with blank",
            "umount -l /mnt/a",
        ]
        assert "/mnt/busy is busy: left to the shutdown" in worker.log
        assert "/mnt/with blank hangs: detached" in worker.log

    at_once(workers, try_it)


MOUNTS = (
    "/dev/root / ext4 rw 0 0\n"
    "nas:/a /mnt/a nfs4 rw 0 0\n"
    r"//nas/b /mnt/with\040blank cifs rw 0 0" + "\n"
    "nas:/c /mnt/*/inner nfs rw 0 0"
)


def test_network_file_systems_and_those_that_hang_are_named_in_the_answer(workers: list[Worker]) -> None:
    """All of them together have two seconds, and whoever asks again hears it too."""

    def try_it(worker: Worker) -> None:
        worker.put("proc/self/mounts", MOUNTS)
        worker.stand_in("stat", 'case $2 in "/mnt/with blank" | /mnt/a) exec sleep 5 ;; esac')
        worker.configure(wait_s=30)
        named = r"mount=/mnt/*/inner" + "\n" + r"hung_mount=/mnt/with\040blank" + "\nhung_mount=/mnt/a\n"
        assert worker.ask("poweroff").stdout == f"upsd-worker: powering off\n{named}"
        assert worker.ask("poweroff").stdout == f"upsd-worker: the power-off is on its way already (waiting)\n{named}"
        assert worker.ask("cancel").returncode == 0

    at_once(workers, try_it)


def test_a_hung_mount_does_not_hold_the_power_off_up(workers: list[Worker]) -> None:
    """It is on its way while the mount is still being asked."""

    def try_it(worker: Worker) -> None:
        worker.put("proc/self/mounts", MOUNTS)
        worker.stand_in("stat", f"cat {worker.calls_file} >>{worker.root}/run/asked; exec sleep 5")
        worker.configure(wait_s=0, force_s=0)
        unmounts = ["umount /mnt/*/inner", "umount /mnt/with blank", "umount /mnt/a"]
        assert worker.power_off() == [*STOPPED, *unmounts, *OFF]

    at_once(workers, try_it)


def test_a_disk_that_hangs_does_not_keep_the_machine_up(workers: list[Worker]) -> None:
    """Writing out has its time, and the power-off comes after it."""

    def try_it(worker: Worker) -> None:
        worker.configure(wait_s=0, force_s=0, sync_s=1)
        worker.stand_in("sync", "exec sleep 5")
        assert worker.power_off() == [*STOPPED, *OFF]
        assert worker.log.count("writing out has not ended within 1 s") == 2

    at_once(workers, try_it)


def test_a_forced_power_off_that_hangs_on_a_disk_is_done_without_writing_out(workers: list[Worker]) -> None:
    """However often it is forced, systemctl writes out by itself."""

    def try_it(worker: Worker) -> None:
        worker.stand_in("systemctl", '[ "$*" != "poweroff --force --force" ] || exec sleep 15')
        worker.power_off()
        worker.until(lambda: FORCED_WITHOUT_SYSTEMD in worker.calls)
        assert worker.calls[-3:] == ["sync", FORCED, FORCED_WITHOUT_SYSTEMD]

    at_once(workers, try_it)


def test_a_power_off_that_nobody_takes_is_forced(workers: list[Worker]) -> None:
    """As when systemd itself has died."""

    def try_it(worker: Worker) -> None:
        worker.stand_in("systemctl", "exit 1")
        assert worker.power_off()[-5:] == ["sync", "systemctl poweroff", "poweroff", "sync", FORCED]
        worker.until(lambda: FORCED_WITHOUT_SYSTEMD in worker.calls)

    at_once(workers, try_it)


def test_a_run_directory_that_can_t_be_written_does_not_keep_the_machine_up(worker: Worker) -> None:
    """Then nothing can be called off."""
    (worker.root / "run").rmdir()
    worker.put("run", "")
    assert worker.power_off() == [*STOPPED, *OFF]


def test_to_ask_again_is_harmless(worker: Worker) -> None:
    """The daemon does so at half time; the second one changes nothing."""
    worker.configure(wait_s=30)
    assert worker.ask("poweroff").stdout == "upsd-worker: powering off\n"
    assert worker.status()["poweroff"] == "waiting"
    assert "on its way already (waiting)" in worker.ask("poweroff").stdout
    assert sum(call.startswith("systemd-run") for call in worker.calls) == 1
    assert worker.ask("cancel").returncode == 0


def test_it_is_called_off_before_k3s_is_stopped(worker: Worker) -> None:
    """Nothing was done then, and it can be asked for anew."""
    worker.configure(wait_s=30)
    worker.ask("poweroff")
    assert "is called off" in worker.ask("cancel").stdout
    assert worker.status()["poweroff"] == "none"
    assert not [call for call in worker.calls if call.startswith("systemctl stop")]
    worker.configure(wait_s=0, force_s=0)
    assert worker.power_off()[-1] == OFF[-1]


def test_a_power_off_that_does_not_begin_is_an_error(workers: list[Worker]) -> None:
    """Whoever asked must not wait for a machine that will stay up."""

    def try_it(worker: Worker) -> None:
        worker.stand_in("systemd-run", "")
        failed = worker.ask("poweroff")
        assert (failed.returncode, failed.stderr) == (1, "upsd-worker: the power-off has not begun\n")

    at_once(workers, try_it)


def test_a_systemd_that_does_not_answer_is_done_without(worker: Worker) -> None:
    """As when its bus has died."""
    worker.stand_in("systemd-run", "exit 1")
    assert worker.power_off() == [*STOPPED, *OFF]


def test_it_is_too_late_to_call_it_off_once_k3s_is_being_stopped(workers: list[Worker]) -> None:
    """It says so, and the power-off goes on."""

    def try_it(worker: Worker) -> None:
        worker.stand_in("systemctl", '[ "$*" != "stop k3s-agent" ] || exec sleep 1')
        worker.ask("poweroff")
        worker.until(lambda: "systemctl stop k3s-agent" in worker.calls)
        late = worker.ask("cancel")
        assert (late.returncode, late.stderr) == (
            1,
            "upsd-worker: too late: the power-off is past its beginning (stopping)\n",
        )
        worker.until(lambda: OFF[-1] in worker.calls)

    at_once(workers, try_it)


def test_nothing_to_call_off_is_no_error(worker: Worker) -> None:
    """It is as it was wanted."""
    nothing = worker.ask("cancel")
    assert (nothing.returncode, nothing.stdout) == (0, "upsd-worker: no power-off is on its way\n")


def test_the_check_asks_sudo_and_does_nothing(worker: Worker) -> None:
    """Both rights are asked for."""
    worker.stand_in("systemctl", "echo active")
    checked = worker.ask("check")
    assert (checked.returncode, checked.stdout) == (0, "upsd-worker: may power this machine off; k3s is active\n")
    assert [call for call in worker.calls if not call.startswith("systemctl is-active")] == [
        f"sudo -n -l {worker.program} as-root poweroff",
        f"sudo -n -l {worker.program} as-root cancel",
    ]


def test_the_check_tells_what_is_missing(worker: Worker) -> None:
    """One thing at a time."""
    worker.remove("systemctl")
    worker.remove("poweroff")
    if worker.name != "busybox":  # which has a power-off of its own
        assert worker.ask("check").stderr == "upsd-worker: there is neither systemctl nor poweroff here\n"
    worker.stand_in("sudo", "exit 1")
    refused = worker.ask("check")
    assert refused.returncode == 1
    assert refused.stderr == f"upsd-worker: sudo does not let upsd run {worker.program} as-root poweroff\n"


def test_the_check_refuses_a_helper_that_its_user_can_change(worker: Worker) -> None:
    """What sudo lets a user run as root must not be that user's to write."""
    worker.program.chmod(0o777)
    assert "can be changed by upsd" in worker.ask("check").stderr


def _process(script: str) -> subprocess.Popen[str]:
    """A process that is ready."""
    body = f"wait_a_while() {{ for _ in $(seq 100); do sleep 0.1; done; }}; echo ready; {script}"
    process = subprocess.Popen(["sh", "-c", body], stdout=subprocess.PIPE, text=True, **nobody())
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process
