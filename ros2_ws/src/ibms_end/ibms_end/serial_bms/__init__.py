# SPDX-License-Identifier: Apache-2.0
"""Packs behind a BMS with a serial line: protocol and polling driver."""
