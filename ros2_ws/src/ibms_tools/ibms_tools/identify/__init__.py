# SPDX-License-Identifier: Apache-2.0
"""``./ibms identify``: a cell file from measured data."""
