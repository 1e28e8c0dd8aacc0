# SPDX-License-Identifier: Apache-2.0
"""Who acts on a bus of this machine: refuses a second graph and names the first."""

import socket
from collections.abc import Sequence
from pathlib import Path

import psutil

from ibms_end.can.bus import BusConfiguration, BusRoleTakenError, claim_role

GRAPH = (
    "graph"  # held by the command that runs a graph, from before its nodes start until they ended
)
EDGE_ROLES = ("bms",)
SIMULATION_ROLES = ("pack", "switch_board", "charger")


def claim_graph(bus: BusConfiguration, roles: Sequence[str]) -> socket.socket:
    """Claim the bus for a graph whose processes will act in ``roles``, until the socket is closed.

    Raises:
        BusRoleTakenError: naming the process, if one already acts in a role.
    """
    graph = _claim(bus, GRAPH)
    try:
        for role in roles:
            _claim(bus, role).close()
    except BusRoleTakenError:
        graph.close()
        raise
    return graph


def _claim(bus: BusConfiguration, role: str) -> socket.socket:
    try:
        return claim_role(bus, role)
    except BusRoleTakenError as error:
        raise BusRoleTakenError(
            f"bus {bus.interface}:{bus.channel} is in use: {owner(bus, role)} acts as {role!r} on "
            f"it. End it first, or choose another channel"
        ) from error


def owner(bus: BusConfiguration, role: str) -> str:
    """The process that holds a role, in words."""
    name = f"@ibms/{role}/{bus.interface}/{bus.channel}"
    inode = None
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        columns = line.split(maxsplit=7)
        if len(columns) == 8 and columns[7] == name:
            inode = columns[6]
    for descriptor in Path("/proc").glob("[0-9]*/fd/*") if inode else ():
        try:
            if str(descriptor.readlink()) == f"socket:[{inode}]":
                pid = int(descriptor.parts[2])
                return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())[:120]})"
        except (OSError, psutil.Error):
            continue  # ended meanwhile, or another user's
    return "a process of another user"
