# SPDX-License-Identifier: Apache-2.0
"""What is raised for bags."""


class BagError(ValueError):
    """A bag that cannot be read or written; the text says which, where and how to mend it."""
