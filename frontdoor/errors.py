# SPDX-License-Identifier: Apache-2.0
"""The one exception that ends a command with a sentence instead of a traceback."""


class FrontDoorError(Exception):
    """Something the user can mend; the message says what is wrong and how to mend it."""
