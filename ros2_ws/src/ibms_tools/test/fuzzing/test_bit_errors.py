# SPDX-License-Identifier: Apache-2.0
from binascii import crc_hqx
from pathlib import Path

import pytest
from cantools.database.can import Message

from ibms_end.can import end_to_end
from ibms_end.can.codec import data_id_of, load_databases
from ibms_tools.fuzzing.bit_errors import undetected_bursts

DBC = Path(__file__).resolve().parents[5] / "config" / "can" / "ibms.dbc"
MESSAGES = {
    message.name: message
    for message in load_databases([DBC]).messages
    # Modules differ in nothing but the data identifier, which a burst does not know.
    if not message.name.startswith("Afe") or message.name[-2:] in ("00", "ng", "st")
}


@pytest.mark.parametrize("name", MESSAGES)
def test_every_single_bit_and_burst_of_up_to_8_bits_is_rejected(name: str) -> None:
    message = MESSAGES[name]
    tried, passed = undetected_bursts(message)
    bits = 8 * message.length
    # 2^(n-2) bursts of length n > 1 and one of length 1, from each place where they fit.
    bursts = bits + sum(2 ** (n - 2) * (bits - n + 1) for n in range(2, 9))
    assert (tried, passed) == (2 * bursts, 0)


def test_an_error_that_is_not_noticed_would_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    good = MESSAGES["SwitchPermit"]

    def blind(data: bytes | bytearray, data_id: int) -> int:
        """Overlooks the last byte."""
        return crc_hqx(bytes(data[2:-1]), data_id)

    monkeypatch.setattr(end_to_end, "crc", blind)
    monkeypatch.setattr("ibms_tools.fuzzing.bit_errors.crc", blind)
    _, passed = undetected_bursts(good)
    assert passed >= 2 * 255 - 2 * 127  # all that lie in that byte


def test_a_message_without_protection_is_named() -> None:
    bare = Message(0x123, "Bare", 8, [])
    assert data_id_of(bare) is None
    with pytest.raises(ValueError, match="'Bare' is not protected"):
        undetected_bursts(bare)
