# SPDX-License-Identifier: Apache-2.0
"""The pack towards vehicle and robots."""
