# SPDX-License-Identifier: Apache-2.0
"""What the supervisor asks of a pack's switches: three configurations and ways between them."""

from itertools import pairwise

from ibms_battery.pack import Switching, Transition

OPEN, PRECHARGING, CLOSED = "open", "precharge", "closed"  # configurations of every pack


def way_between(switching: Switching, source: str, target: str) -> list[str]:
    """Configurations from ``source`` to ``target``, both included.

    Raises:
        ValueError: if the topology lacks one of them, or has no way.
    """
    known = {source, target} <= switching.configurations.keys()
    way = switching.route(source, target) if known else None
    if way is None:
        raise ValueError(
            f"the pack's switches have no way from {source!r} to {target!r}, which the pack "
            "supervisor needs"
        )
    return [source, *way]


def transitions_of(switching: Switching, way: list[str]) -> list[Transition]:
    """The transitions of a way."""
    return [switching.transition(*step) for step in pairwise(way)]
