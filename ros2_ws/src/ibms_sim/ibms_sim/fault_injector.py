# SPDX-License-Identifier: Apache-2.0
"""Node ``fault_injector``: the service that injects faults into the simulated pack."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from rclpy.node import Node

from ibms_end.can.bus import BusConfiguration
from ibms_msgs.srv import InjectFault
from ibms_ros_common import parameters
from ibms_ros_common.process import spin
from ibms_sim.injection import InjectionClient


class FaultInjectorParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``fault_injector``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    bus: BusConfiguration = BusConfiguration()


class FaultInjector(Node):
    """Passes each request to the device over CAN; a call lasts at most 0.3 s."""

    def __init__(self) -> None:
        super().__init__("fault_injector")
        parameters.declare(self, FaultInjectorParameters)
        values = parameters.read(self, FaultInjectorParameters)
        can_folder = Path(values.pack).resolve().parent.parent / "can"
        self._client = InjectionClient(values.bus, can_folder)
        self.context.on_shutdown(self._client.close)
        self.create_service(InjectFault, "inject_fault", self._inject)

    def _inject(
        self, request: InjectFault.Request, response: InjectFault.Response
    ) -> InjectFault.Response:
        result = self._client.inject(
            request.fault,
            request.element,
            request.value,
            request.duration_s,
            request.remove,
            request.count,
        )
        response.success = result.success
        response.code = int(result.code)
        response.message = result.message
        return response


def main() -> int:
    """Entry point."""
    return spin(FaultInjector)


if __name__ == "__main__":
    raise SystemExit(main())
