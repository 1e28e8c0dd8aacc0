# SPDX-License-Identifier: Apache-2.0
"""The supervisor's requests, and which of them openings have overtaken. No ROS."""

from ibms_edge.switching.exchange import RequestInput, is_ahead


class Requests:
    """The newest request. The first one after a start is void, and so are all after an opening."""

    def __init__(self) -> None:
        self.newest: RequestInput | None = None
        self.rejected = 0
        self._highest: int | None = None  # sequence
        self._void: int | None = None  # requests up to this sequence were overtaken

    def take(self, request: RequestInput) -> None:
        """A request arrived; one from the past is rejected."""
        known = self.newest
        if known is not None and request.boot_ns < known.boot_ns:
            self.rejected += 1
            return
        if self._highest is None or is_ahead(request.sequence, self._highest):
            self._highest = request.sequence
        if known is None:
            self._void = request.sequence
        self.newest = request

    def void(self) -> None:
        """All requests known by now were overtaken by an opening."""
        self._void = self._highest

    def is_void(self, request: RequestInput) -> bool:
        """Whether an opening has overtaken ``request``."""
        return self._void is not None and not is_ahead(request.sequence, self._void)
