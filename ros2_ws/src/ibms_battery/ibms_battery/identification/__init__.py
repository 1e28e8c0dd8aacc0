# SPDX-License-Identifier: Apache-2.0
"""Identification of a cell's model from measured data. No ROS."""
