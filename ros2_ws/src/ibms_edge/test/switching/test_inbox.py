# SPDX-License-Identifier: Apache-2.0
from ibms_edge.switching.inbox import Inbox


def test_inputs_come_out_in_their_order_and_once() -> None:
    inbox = Inbox[int](3)
    for number in range(3):
        inbox.put(number)
    assert list(inbox.take_all()) == [0, 1, 2]
    assert list(inbox.take_all()) == []
    assert inbox.lost == 0


def test_the_oldest_is_lost_and_counted() -> None:
    inbox = Inbox[int](3)
    for number in range(8):
        inbox.put(number)
    assert inbox.lost == 5
    assert list(inbox.take_all()) == [5, 6, 7]
