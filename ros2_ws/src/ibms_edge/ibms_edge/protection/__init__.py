# SPDX-License-Identifier: Apache-2.0
"""Protection: one table of diagnoses, one engine, one verdict."""
