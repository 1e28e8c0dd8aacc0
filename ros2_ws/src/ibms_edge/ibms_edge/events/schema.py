# SPDX-License-Identifier: Apache-2.0
"""Layout of the event database, its version and the way there from older ones. No ROS."""

import sqlite3

VERSION = 1
UNKNOWN_BOOT = 0  # row of events that were stored before boots were told apart

_EVENT_0 = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    wall_ns INTEGER NOT NULL,
    boot_ns INTEGER NOT NULL,
    source TEXT NOT NULL,
    kind INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    diagnosis INTEGER NOT NULL,
    element INTEGER NOT NULL,
    value REAL,
    text TEXT NOT NULL
)
"""

_TO_1 = (
    "CREATE TABLE boot (id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL UNIQUE)",
    f"INSERT INTO boot VALUES ({UNKNOWN_BOOT}, '')",
    f"ALTER TABLE event ADD COLUMN boot INTEGER NOT NULL DEFAULT {UNKNOWN_BOOT}",
    "CREATE INDEX event_time ON event (boot, boot_ns)",
    """
    CREATE TABLE opening (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        boot INTEGER NOT NULL,
        boot_ns INTEGER NOT NULL,
        wall_ns INTEGER NOT NULL,
        reason INTEGER NOT NULL,
        commanded_ns INTEGER,
        opened_ns INTEGER,
        cause INTEGER NOT NULL,
        cause_element INTEGER NOT NULL,
        cause_value REAL,
        closed_until_wall_ns INTEGER,
        moment TEXT NOT NULL, -- JSON
        UNIQUE (boot, boot_ns)
    )
    """,
    """
    CREATE TABLE frame (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        boot INTEGER NOT NULL,
        trigger_ns INTEGER NOT NULL,
        wall_ns INTEGER NOT NULL,
        by_fault INTEGER NOT NULL,
        complete INTEGER NOT NULL,
        UNIQUE (boot, trigger_ns)
    )
    """,
    """
    CREATE TABLE piece (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        frame INTEGER NOT NULL REFERENCES frame ON DELETE CASCADE,
        messages INTEGER NOT NULL,
        first_ns INTEGER NOT NULL,
        last_ns INTEGER NOT NULL,
        data BLOB NOT NULL -- see frame.py
    )
    """,
    "CREATE INDEX piece_frame ON piece (frame)",
    """
    CREATE TABLE lockout (
        diagnosis INTEGER NOT NULL,
        element INTEGER NOT NULL,
        value REAL,
        PRIMARY KEY (diagnosis, element)
    )
    """,
    """
    CREATE TABLE wear (
        switch TEXT PRIMARY KEY,
        operations INTEGER NOT NULL,
        under_load INTEGER NOT NULL,
        above_break INTEGER NOT NULL,
        life_used REAL -- NULL: not known
    )
    """,
    """
    CREATE TABLE diagnosis (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        text TEXT NOT NULL,
        reaction TEXT NOT NULL,
        "limit" TEXT NOT NULL,
        unit TEXT NOT NULL,
        element TEXT NOT NULL
    )
    """,
    # When the switches last closed and the opening before it: with no later one they still are, or
    # opened while nobody recorded.
    "CREATE TABLE closed (since_wall_ns INTEGER NOT NULL, after_opening INTEGER NOT NULL)",
)


def migrate(database: sqlite3.Connection) -> None:
    """Bring an empty or older database to ``VERSION``, within the caller's transaction.

    Raises:
        ValueError: if it was written by a newer release.
        sqlite3.Error: if it holds something else.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise ValueError(f"its layout {version} is of a newer release, known is {VERSION}")
    if version == VERSION:
        return
    known = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'event'").fetchone()
    if known is None:
        database.execute(_EVENT_0)
    for statement in _TO_1:
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {VERSION}")
