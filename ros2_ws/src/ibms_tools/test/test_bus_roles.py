# SPDX-License-Identifier: Apache-2.0
"""Tests of the claim of a bus."""

import os
import subprocess
import sys

import pytest

from ibms_end.can.bus import BusConfiguration, BusRoleTakenError, claim_role
from ibms_tools.bus_roles import claim_graph, owner

BUS = BusConfiguration(channel=str(20000 + os.getpid() % 20000))
ROLES = ("bms", "pack")


def test_a_second_graph_is_refused_and_the_first_named() -> None:
    with claim_graph(BUS, ROLES), pytest.raises(BusRoleTakenError) as refused:
        claim_graph(BUS, ROLES)
    text = str(refused.value)
    assert f"bus ibms_local:{BUS.channel} is in use: process {os.getpid()} (" in text
    assert "'graph'" in text


def test_free_again_after_the_end() -> None:
    claim_graph(BUS, ROLES).close()
    claim_graph(BUS, ROLES).close()


def test_a_process_that_acts_on_the_bus_refuses_a_graph() -> None:
    with claim_role(BUS, "pack"):
        with pytest.raises(BusRoleTakenError, match="'pack'"):
            claim_graph(BUS, ROLES)
        claim_graph(BUS, ["bms"]).close()  # and left no claim behind


def test_another_process_is_named_with_its_command() -> None:
    program = (
        "import sys; from ibms_end.can.bus import *; "
        f"c = claim_role(BusConfiguration(channel='{BUS.channel}'), 'bms'); "
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "a-word"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        text = owner(BUS, "bms")
        assert f"process {other.pid} (" in text
        assert sys.executable in text
        other.communicate()
    claim_role(BUS, "bms").close()
