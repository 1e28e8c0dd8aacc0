# SPDX-License-Identifier: Apache-2.0
"""Definitions and hashes of the installed message types, as bags carry them."""

import json
from functools import cache
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

_SEPARATOR = "=" * 80


@cache
def type_hash(type_name: str) -> str:
    """RIHS01 hash (REP-2016) of an installed type such as ``ibms_msgs/msg/PackState``."""
    return _type_hashes(type_name)[type_name]


@cache
def definition(type_name: str) -> str:
    """Text of the .msg file with those of all types in it, comments and units included."""
    parts = [_source(type_name)]
    for name in _type_hashes(type_name):
        if name != type_name:
            package, _, base = name.split("/")
            parts.append(f"{_SEPARATOR}\nMSG: {package}/{base}\n{_source(name)}")
    return "\n".join(parts)


def hash_of_definition(type_name: str, text: str) -> str:
    """RIHS01 hash of a definition found in a bag."""
    return _typestore(type_name, text).hash_rihs01(type_name)


def canonical(type_name: str, data: bytes) -> bytes:
    """The CDR ``data`` of a message with zeros between its fields.

    The middleware leaves the bytes that only align the fields as they were in memory, so equal
    messages differ in them.
    """
    store = _typestore(type_name, definition(type_name))
    return bytes(store.serialize_cdr(store.deserialize_cdr(data, type_name), type_name))


@cache
def _typestore(type_name: str, text: str) -> Typestore:
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, type_name))
    return store


@cache
def _type_hashes(type_name: str) -> dict[str, str]:
    # Written by rosidl beside each .msg file: the type itself and all that it contains.
    description = json.loads(_path(type_name, ".json").read_text(encoding="utf-8"))
    return {entry["type_name"]: entry["hash_string"] for entry in description["type_hashes"]}


def _source(type_name: str) -> str:
    return _path(type_name, ".msg").read_text(encoding="utf-8")


def _path(type_name: str, suffix: str) -> Path:
    package, kind, base = type_name.split("/")
    return Path(get_package_share_directory(package), kind, base + suffix)
