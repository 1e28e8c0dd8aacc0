# SPDX-License-Identifier: Apache-2.0
"""The fault campaign: every diagnosis provoked from outside, closed loop on a virtual clock."""
