# SPDX-License-Identifier: Apache-2.0
"""One line of the doctor."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """How something is, and how to mend it where it is not good."""

    level: Literal["OK", "WARN", "FAIL"]
    topic: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """The line as printed, in the same columns as the front door's."""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.level:<5}{self.topic:<12}{self.text}{remedy}"
