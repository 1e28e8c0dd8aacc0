# SPDX-License-Identifier: Apache-2.0
"""Every event since the start of the graph reaches the disk."""

import sqlite3
from contextlib import closing

from ibms_msgs.msg import PackState
from ibms_tools.bench.pack_under_test import PackUnderTest


def test_the_recorder_has_each_event_though_it_starts_last(pack: PackUnderTest) -> None:
    pack.drive()
    pack.request(PackState.STATE_STANDBY)
    pack.wait_until("standby", lambda: pack.state == PackState.STATE_STANDBY, 5.0)
    file = pack.log.parent / "state" / f"{pack.pack.name}.events.sqlite"

    def missing() -> set[str]:
        with closing(sqlite3.connect(file)) as database:
            rows = database.execute("select source || ': ' || text from event").fetchall()
        return set(pack.texts()) - {text for (text,) in rows}

    assert "pack_supervisor: off -> standby: ready" in pack.texts()
    pack.wait_until("all events on disk", lambda: not missing(), 3.0)
