# SPDX-License-Identifier: Apache-2.0
"""Node ``pack_supervisor``: takes requests of users and leads the pack from state to state."""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.protection.samples import measured_current_a
from ibms_edge.protection.table import Diagnosis, table_of
from ibms_edge.supervisor.course import name_of
from ibms_edge.supervisor.inputs import Fault
from ibms_edge.supervisor.machine import PackSupervisor
from ibms_edge.supervisor.states import State, Substate
from ibms_edge.switching.exchange import Reason
from ibms_msgs.msg import (
    Event,
    PackMeasurement,
    PackState,
    ProtectionStatus,
    SwitchRequest,
    SwitchState,
)
from ibms_msgs.srv import RequestPackState
from ibms_ros_common.diagnostics import ERROR, Status
from ibms_ros_common.node import BmsNode
from ibms_ros_common.process import CHAIN_PRIORITY, run

_STEP_PERIOD_S = 0.05
_PUBLISH_PERIOD_NS = NS_PER_S // 10
_STATUS_FRESHNESS_S = 0.3
_SAMPLE_FRESHNESS_S = 0.1
_SEQUENCE_STEP_NS = NS_PER_S // 10


class PackSupervisorParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``pack_supervisor``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    diagnoses: Annotated[
        str, Meta(description="table of diagnoses; empty: the one that the pack names")
    ] = ""


class PackSupervisorNode(BmsNode[PackSupervisorParameters]):
    """Publishes the pack's state and what it wants of the switches."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("pack_supervisor", PackSupervisorParameters, clock, **options)

    def configure(self, parameters: PackSupervisorParameters) -> None:
        """Create the state machine and its interfaces."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        table = table_of(parameters.pack, pack, parameters.diagnoses)
        self._checksum = table.checksum()
        self._rows = {row.id: row for row in table.diagnoses}
        # A restarted supervisor begins above every sequence used before, and for years below the
        # wrap: nobody asks ten times per second all the time.
        sequence = self.clock.boot_ns() // _SEQUENCE_STEP_NS & 0xFFFFFFFF
        self._machine = PackSupervisor(pack, self.clock.boot_ns(), sequence)
        self._shown: tuple[Any, ...] = ()
        self._next_publish_ns = 0
        self.advertise("switch/request", "pack/state", "events")
        self.listen("protection/status", self._on_status, _STATUS_FRESHNESS_S)
        self.listen("switch/state", self._on_switch)
        self.listen("pack/measurement", self._on_sample, _SAMPLE_FRESHNESS_S)
        self.serve("request_pack_state", self._on_request)
        self.every(_STEP_PERIOD_S, self._step, timed_as="loop")
        self.diagnose("state", self._report_state)

    def deactivate(self) -> None:
        """Ask for opening before falling silent."""
        self._machine.fall_silent(self.clock.boot_ns())
        self._publish()

    def _on_status(self, message: ProtectionStatus) -> None:
        inputs = self._machine.inputs
        inputs.status_boot_ns = message.boot_ns
        inputs.reaction = message.reaction
        inputs.close_allowed = message.close_allowed
        inputs.cause, inputs.cause_element = message.first_cause, message.first_cause_element
        inputs.string_voltage_v = message.string_voltage_v
        inputs.faults = self._faults(message) if inputs.forbids else ()

    def _faults(self, message: ProtectionStatus) -> Sequence[Fault]:
        """What demands opening, named by the table if protection judges by the same one."""
        rows = self._rows if message.configuration_crc == self._checksum else {}
        return [
            _fault(identifier, element, rows.get(identifier))
            for identifier, element, reaction in zip(
                message.active_diagnosis,
                message.active_element,
                message.active_reaction,
                strict=True,
            )
            if reaction >= ProtectionStatus.REACTION_OPEN_AFTER_ZERO_CURRENT
        ]

    def _on_switch(self, message: SwitchState) -> None:
        inputs = self._machine.inputs
        inputs.switch_boot_ns = message.boot_ns
        inputs.configuration = message.configuration
        inputs.commanded = message.requested_configuration
        inputs.request_sequence = message.request_sequence
        inputs.open_reason = Reason(message.open_reason)
        inputs.break_current_hold = message.break_current_hold
        inputs.waiting_for = message.waiting_for
        inputs.pack_voltage_v = message.pack_voltage_v
        inputs.link_voltage_v = message.link_voltage_v

    def _on_sample(self, message: PackMeasurement) -> None:
        self._machine.inputs.current_boot_ns = message.boot_ns
        self._machine.inputs.current_a = measured_current_a(message)

    def _on_request(
        self, request: RequestPackState.Request, response: RequestPackState.Response
    ) -> RequestPackState.Response:
        if not self.is_active:
            response.code = RequestPackState.Response.CODE_NOT_ACTIVE
            response.message = "the pack supervisor is not active"
            return response
        code, text = self._machine.request(request.state, self.clock.boot_ns())
        response.success, response.code, response.message = code == 0, int(code), text
        self._tell(
            Event.KIND_REQUEST,
            Event.SEVERITY_INFO if code == 0 else Event.SEVERITY_WARNING,
            f"{request.requester or 'somebody'} asks for {name_of(request.state)}: {text}",
        )
        self._step()
        return response

    def _step(self) -> None:
        now_ns = self.clock.boot_ns()
        machine = self._machine
        machine.step(now_ns)
        shown = (machine.course.place, machine.text, machine.course.wish)
        if shown != self._shown or now_ns >= self._next_publish_ns:
            if self._shown and self._shown[0] != machine.course.place:
                self._tell_move(self._shown[0].state)
            self._shown = shown
            # Kept in step, so that jitter of the timer does not stretch the period.
            self._next_publish_ns = max(self._next_publish_ns, now_ns - _PUBLISH_PERIOD_NS)
            self._next_publish_ns += _PUBLISH_PERIOD_NS
            self._publish()

    def _publish(self) -> None:
        machine, now_ns = self._machine, self.clock.boot_ns()
        course = machine.course
        cause, element = course.cause
        self.publish(
            "switch/request",
            SwitchRequest(
                header=self.header(),
                boot_ns=now_ns,
                sequence=course.wish.sequence,
                configuration=course.wish.configuration,
                arm=course.wish.arm,
            ),
        )
        self.publish(
            "pack/state",
            PackState(
                header=self.header(),
                boot_ns=now_ns,
                state=int(machine.state),
                substate=str(course.place.substate),
                precharge_attempt=machine.attempt,
                requested_state=int(machine.requested),
                time_in_state_s=(now_ns - course.entered_ns) / NS_PER_S,
                zero_current_requested=machine.zero_current_requested,
                cause=cause,
                cause_element=element,
                text=machine.text,
            ),
        )

    def _tell_move(self, before: State) -> None:
        machine = self._machine
        severity = Event.SEVERITY_INFO
        if before is machine.state:
            # Steps within a state are seen on pack/state; a failed attempt is worth keeping.
            if machine.course.place != (State.PRECHARGE, Substate.OPENING):
                return
            severity = Event.SEVERITY_WARNING
        elif machine.state is State.ERROR:
            severity = Event.SEVERITY_ERROR
        self._tell(
            Event.KIND_STATE_CHANGED,
            severity,
            f"{before.name.lower()} -> {machine.state.name.lower()}: {machine.text}",
        )

    def _tell(self, kind: int, severity: int, text: str) -> None:
        cause, element = self._machine.course.cause
        self.tell(kind, text, severity, diagnosis=cause, element=element)

    def _report_state(self, status: Status) -> None:
        machine = self._machine
        status.add(
            state=machine.state.name.lower(),
            substate=machine.course.place.substate,
            text=machine.text,
        )
        if machine.state is State.ERROR:
            status.report(ERROR, machine.text)


def _fault(identifier: int, element: int, row: Diagnosis | None) -> Fault:
    if row is None:
        return Fault(identifier, element)
    return Fault(identifier, element, f"{row.name}: {row.text}", row.latched)


def main() -> int:
    """Process with the node ``pack_supervisor``."""
    return run(PackSupervisorNode, real_time_priority=CHAIN_PRIORITY - 10)
