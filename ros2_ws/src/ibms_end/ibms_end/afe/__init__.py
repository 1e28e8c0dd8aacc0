# SPDX-License-Identifier: Apache-2.0
"""Measuring of cells and pack: from frames to complete, time-stamped scans."""
