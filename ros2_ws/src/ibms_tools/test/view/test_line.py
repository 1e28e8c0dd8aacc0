# SPDX-License-Identifier: Apache-2.0
"""Tests of the plain lines."""

from ibms_battery.pack import Pack
from ibms_tools.view.line import event_line, status_line
from ibms_tools.view.picture import Picture


def test_status_in_one_line(picture: Picture) -> None:
    assert status_line(picture) == (
        "1:23 driving | state drive | contactors closed ●●○ | 371.2 V -23.4 A | SOC 79.9% ±2.1 | "
        "scans 50/s | lost 0 | faults 0"
    )


def test_status_without_messages(pack: Pack) -> None:
    assert "state unknown | contactors no feedback | -- -- | SOC --" in status_line(Picture(pack))


def test_event(picture: Picture) -> None:
    assert event_line(picture.events[0]).endswith(" pack_supervisor: off -> standby: ready")
