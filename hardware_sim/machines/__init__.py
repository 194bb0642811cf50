"""The machines of the rack as software: what hangs on the outlets, answers over SSH and can lose data."""

from hardware_sim.machines.credentials import write_client_key, write_known_hosts
from hardware_sim.machines.machine import MachineState, SimulatedMachine
from hardware_sim.machines.nas import SimulatedNas
from hardware_sim.machines.ssh_server import FLUSH_COMMAND, POWEROFF_COMMAND, SimulatedSshServer

__all__ = [
    "FLUSH_COMMAND",
    "POWEROFF_COMMAND",
    "MachineState",
    "SimulatedMachine",
    "SimulatedNas",
    "SimulatedSshServer",
    "write_client_key",
    "write_known_hosts",
]
