# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import can
import pytest

from ibms_end.can.bus import BusConfiguration, BusRoleTakenError, claim_role, open_bus


def test_unknown_interface_names_itself() -> None:
    with pytest.raises(can.CanInitializationError, match="nonsense:43551 does not open"):
        open_bus(BusConfiguration(interface="nonsense", channel="43551"))


def test_classic_bus_refuses_fd_frames(free_channel: str) -> None:
    bus = open_bus(BusConfiguration(channel=free_channel, protocol="classic"))
    with bus, pytest.raises(can.CanOperationError, match="without CAN FD"):
        bus.send(can.Message(is_fd=True, data=bytes(12)))


def test_a_role_is_there_once_per_bus_until_it_is_given_up(free_channel: str) -> None:
    bus = BusConfiguration(channel=free_channel)
    other = BusConfiguration(interface="socketcan", channel=free_channel)
    taken = rf"already acts as 'test' on bus ibms_local:{free_channel}"
    with (
        claim_role(bus, "test"),
        claim_role(bus, "another"),
        claim_role(other, "test"),
        pytest.raises(BusRoleTakenError, match=taken),
    ):
        claim_role(bus, "test")
    claim_role(bus, "test").close()


def test_a_role_of_a_killed_process_is_free(bus_configuration: BusConfiguration) -> None:
    script = (
        "from ibms_end.can.bus import BusConfiguration, claim_role\n"
        f"claim = claim_role(BusConfiguration(channel='{bus_configuration.channel}'), 'killed')\n"
        "print('claimed', flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        with pytest.raises(BusRoleTakenError):
            claim_role(bus_configuration, "killed")
        process.kill()
        process.wait()
    claim_role(bus_configuration, "killed").close()
