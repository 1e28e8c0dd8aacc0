# SPDX-License-Identifier: Apache-2.0
"""Tests of what surrounds the graph."""

import pytest

from ibms_end.can.bus import BusConfiguration
from ibms_tools.demo.run import domain_of


@pytest.mark.parametrize(
    ("environment", "domain"),
    [
        ({"ROS_DOMAIN_ID": "57"}, 57),
        ({"ROS_DOMAIN_ID": "0"}, 74),
        ({"ROS_DOMAIN_ID": ""}, 74),
        ({}, 74),
    ],
)
def test_domain_is_the_chosen_one_or_follows_the_channel(
    environment: dict[str, str], domain: int
) -> None:
    assert domain_of(BusConfiguration(channel="43200"), environment) == domain


def test_neighbouring_channels_have_different_domains_that_dds_knows() -> None:
    domains = {domain_of(BusConfiguration(channel=str(43200 + i)), {}) for i in range(101)}
    assert domains == set(range(1, 102))
