# SPDX-License-Identifier: Apache-2.0
"""The charger: what is asked of it, and what it does."""
