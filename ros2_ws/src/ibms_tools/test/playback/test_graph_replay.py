# SPDX-License-Identifier: Apache-2.0
import pytest

from ibms_tools.playback.graph_replay import GraphReplay, InputCount, chosen_topics
from ibms_tools.playback.nodes import ReplayError


def test_missing_inputs_forbid_the_claim() -> None:
    inputs = [
        InputCount("protection", "cells/measurement", expected=10, received=8, stale=1),
        InputCount("protection", "pack/measurement", expected=20, received=20, stale=0),
    ]
    replay = GraphReplay(inputs, ["protection"], outputs=8, different=None)
    text = "\n".join(replay.lines())
    assert not replay.is_equal
    assert "protection: 8 of 10 of cells/measurement  (1 of them stale)  2 MISSING" in text
    assert "no equality with the replay into single nodes is claimed" in text
    assert "missing: 2 of cells/measurement at protection" in text


def test_differing_outputs_forbid_the_claim() -> None:
    replay = GraphReplay([], ["protection"], outputs=8, different=3)
    text = "\n".join(replay.lines())
    assert not replay.is_equal
    assert "of the 8 outputs of protection 3 differ" in text
    assert "equal" not in text


def test_equality_is_claimed_otherwise() -> None:
    replay = GraphReplay([], ["protection", "state_estimator"], outputs=8, different=0)
    assert replay.is_equal
    assert "8 outputs of protection and state_estimator equal those" in "\n".join(replay.lines())


def test_topics_can_be_chosen_from_what_is_played() -> None:
    assert chosen_topics(["a", "b"], None) == ["a", "b"]
    assert chosen_topics(["a", "b"], ["b"]) == ["b"]
    with pytest.raises(ReplayError, match="topic 'c' is not played; played are a, b"):
        chosen_topics(["a", "b"], ["c"])
