# SPDX-License-Identifier: Apache-2.0
import can
import pytest
from cantools.database.can import Message

from ibms_end.can.identifier import frame_identifier, message_identifier


@pytest.mark.parametrize(
    ("number", "extended"), [(0x100, False), (0x100, True), (0x1806E5F4, True)]
)
def test_frame_and_message_agree(number: int, extended: bool) -> None:
    frame = can.Message(arbitration_id=number, is_extended_id=extended)
    message = Message(number, "M", 8, [], is_extended_frame=extended)
    assert frame_identifier(frame) == message_identifier(message)


def test_equal_numbers_of_both_kinds_differ() -> None:
    standard = can.Message(arbitration_id=0x100, is_extended_id=False)
    extended = can.Message(arbitration_id=0x100, is_extended_id=True)
    assert frame_identifier(standard) != frame_identifier(extended)
