# SPDX-License-Identifier: Apache-2.0
"""Switch control: the only owner of every contactor and switch."""
