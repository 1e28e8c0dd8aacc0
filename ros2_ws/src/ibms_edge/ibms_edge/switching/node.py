# SPDX-License-Identifier: Apache-2.0
"""Node ``switch_control``: the only owner of every contactor and switch."""

import socket
from array import array
from pathlib import Path
from typing import Annotated, Any

import can
from msgspec import Meta, Struct

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.protection.samples import measured_current_a
from ibms_edge.switching.board_link import BoardLink
from ibms_edge.switching.controller import SwitchController
from ibms_edge.switching.exchange import (
    OPEN,
    Actions,
    Command,
    FeedbackInput,
    RequestInput,
    VerdictInput,
)
from ibms_edge.switching.inbox import Inbox
from ibms_end.can.bus import BusConfiguration, claim_role
from ibms_end.hardware_node import HardwareNode
from ibms_end.mapping import load_map
from ibms_msgs.msg import (
    Event,
    PackMeasurement,
    ProtectionStatus,
    SwitchCommand,
    SwitchRequest,
    SwitchState,
)
from ibms_msgs.srv import RequestSwitchConfiguration
from ibms_ros_common.diagnostics import ERROR, WARN, Status
from ibms_ros_common.process import CHAIN_PRIORITY, run

_LOOP_PERIOD_S = 0.02
_STATE_PERIOD_NS = NS_PER_S // 20
_STATUS_FRESHNESS_S = 0.15
_CURRENT_FRESHNESS_S = 0.1
_BUDGET_S = 0.25  # dead-man plus opening must leave room for the feedback within 300 ms


class SwitchControlParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``switch_control``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    bus: BusConfiguration = BusConfiguration()


class SwitchControl(HardwareNode[SwitchControlParameters]):
    """Sequences, verifies, permits; opens at once when anything of the chain is missing."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("switch_control", SwitchControlParameters, clock, **options)
        self._claim: socket.socket | None = None

    def configure(self, parameters: SwitchControlParameters) -> None:
        """Claim the bus for one BMS, open it, create interfaces."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        self._pack = pack
        self._controller = SwitchController(pack)
        self._claim = claim_role(parameters.bus, "bms")
        config = Path(parameters.pack).parent.parent
        loaded = load_map(config / "can" / "maps" / pack.can_map, pack)
        self._link = BoardLink(loaded.database, parameters.bus, self.clock, self._on_frame)
        self.attach(self._link.receiver)
        self._verdicts = Inbox[VerdictInput](8)
        self._requests = Inbox[RequestInput](8)
        self._feedbacks = Inbox[FeedbackInput](8)
        self._currents = Inbox[tuple[int, float]](32)
        self._show_at_once = False
        self._next_state_ns = 0
        self._last_shown: tuple[Any, ...] = ()
        self._last_command: Command | None = None
        self._permits = 0
        self._open_requested = False
        self.advertise("switch/state", "switch/command", "events")
        loop = self.loop(self._step, _LOOP_PERIOD_S)
        self._notify = loop.notify
        self.listen("protection/status", self._on_status, _STATUS_FRESHNESS_S)
        self.listen("switch/request", self._on_request, 1.0)
        self.listen("pack/measurement", self._on_current, _CURRENT_FRESHNESS_S)
        self.serve("request_switch_configuration", self._on_service)
        self.diagnose("switches", self._report_switches)
        self.diagnose("board link", self._report_link)

    def deactivate(self) -> None:
        """Open, then stop."""
        self._perform(self._controller.shut_down(self.clock.boot_ns()))
        super().deactivate()

    def cleanup(self) -> None:
        """Close the bus and give up the claim."""
        super().cleanup()
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    # Inputs, from the executor's and the receiver's thread; the queues hand them to the loop.

    def _on_status(self, message: ProtectionStatus) -> None:
        self._verdicts.put(
            VerdictInput(
                boot_ns=message.boot_ns,
                scan_counter=message.scan_counter,
                complete=0 < message.diagnoses_total == message.diagnoses_evaluated,
                demands_opening=message.reaction >= ProtectionStatus.REACTION_OPEN_NOW,
                close_allowed=message.close_allowed,
                configuration_crc=message.configuration_crc,
                isolate_cells=frozenset(message.isolate_cells),
                string_voltage_v=tuple(message.string_voltage_v),
            )
        )
        self._notify()

    def _on_request(self, message: SwitchRequest) -> None:
        self._requests.put(
            RequestInput(message.boot_ns, message.sequence, message.configuration, message.arm)
        )

    def _on_current(self, message: PackMeasurement) -> None:
        self._currents.put((message.boot_ns, measured_current_a(message)))
        if self._controller.is_held:
            self._notify()

    def _on_frame(self, message: can.Message, boot_ns: int) -> None:
        feedback = self._link.feedback(message.data, boot_ns)
        if feedback is not None:
            self._feedbacks.put(feedback)
            controller = self._controller
            if (
                controller.is_moving
                or _demands_attention(feedback)
                or not _is_same(feedback, controller.last_feedback)
            ):
                self._notify()

    # The loop.

    def _step(self, _woken_ns: int) -> None:
        controller = self._controller
        for verdict in self._verdicts.take_all():
            controller.verdict(verdict)
        for request in self._requests.take_all():
            controller.request(request)
        for feedback in self._feedbacks.take_all():
            self._show_at_once |= _demands_attention(feedback)
            controller.feedback(feedback)
        for sample in self._currents.take_all():
            controller.current(*sample)
        if self._open_requested:
            self._open_requested = False
            controller.open_at_once()
        controller.foreign_publishers(self.foreign_publishers())
        # Inputs may have come since the loop woke up; they must not look as if from the future.
        now_ns = self.clock.boot_ns()
        self._perform(controller.step(now_ns))
        self._show(now_ns)

    def _perform(self, actions: Actions) -> None:
        link = self._link
        if actions.command is not None:  # an opening goes first
            link.send_command(actions.command)
        if actions.permit is not None:
            link.send_permit(actions.permit)
            self._permits += 1
        if actions.command is not None and actions.command != self._last_command:
            self._last_command = actions.command
            self._publish_command(actions.command)
        for notice in actions.events:
            self.tell(
                Event.KIND_SWITCHED,
                notice.text,
                Event.SEVERITY_WARNING if notice.is_warning else Event.SEVERITY_INFO,
                element=notice.element,
                value=notice.value,
            )

    def _show(self, now_ns: int) -> None:
        controller = self._controller
        feedback = controller.last_feedback
        mismatch = controller.shown_mismatch(now_ns)
        shown = (
            controller.verified(now_ns),
            controller.commanded,
            controller.reason,
            mismatch,
            feedback and (feedback.armed, feedback.dead_man_latched, feedback.interlock_closed),
            feedback and (feedback.emergency_stop, feedback.crash_input),
            controller.is_held,
            controller.wiring_ns,
            controller.isolated(now_ns),
            controller.waiting_for,
        )
        if shown == self._last_shown and now_ns < self._next_state_ns and not self._show_at_once:
            return
        self._show_at_once = False
        if self._last_shown and shown[0] != self._last_shown[0]:
            self.tell(
                Event.KIND_SWITCHED, f"switches: {shown[0]} ({controller.reason.name.lower()})"
            )
        self._last_shown = shown
        # Kept in step, so that jitter of the loop does not stretch the period; but what a change
        # publishes early delays the next one by no more than a period.
        due_ns = max(self._next_state_ns, now_ns - _STATE_PERIOD_NS)
        self._next_state_ns = min(due_ns, now_ns) + _STATE_PERIOD_NS
        fresh = controller.feedback_fresh(now_ns)
        state = SwitchState(
            header=self.header(),
            boot_ns=feedback.boot_ns if feedback else 0,
            configuration=shown[0],
            requested_configuration=controller.commanded,
            request_sequence=controller.newest_sequence,
            in_transition=bool(feedback and feedback.closed != controller.commanded_mask),
            board_valid=fresh,
            armed=bool(fresh and feedback and feedback.armed),
            dead_man_latched=bool(feedback and feedback.dead_man_latched),
            interlock_closed=bool(fresh and feedback and feedback.interlock_closed),
            emergency_stop=bool(feedback and feedback.emergency_stop),
            crash_input=bool(feedback and feedback.crash_input),
            open_reason=int(controller.reason),
            pack_voltage_v=feedback.pack_voltage_v if fresh and feedback else float("nan"),
            link_voltage_v=feedback.link_voltage_v if fresh and feedback else float("nan"),
            hardware_switches=feedback.switch_count if fresh and feedback else 0,
            wiring_boot_ns=controller.wiring_ns,
            break_current_hold=controller.is_held,
            waiting_for=controller.waiting_for,
        )
        state.isolated = array("B", controller.isolated(now_ns))
        state.closed = self._bits(feedback.closed if fresh and feedback else 0)
        state.mismatch = array("B", mismatch)
        self.publish("switch/state", state)

    def _bits(self, mask: int) -> "array[int]":
        return array("B", [mask >> i & 1 for i in range(len(self._pack.switching.switches))])

    def _publish_command(self, command: Command) -> None:
        message = SwitchCommand(
            header=self.header(),
            boot_ns=self.clock.boot_ns(),
            configuration=self._controller.commanded,
            reason=int(command.reason),
        )
        message.closed = self._bits(command.closed)
        self.publish("switch/command", message)

    def _on_service(
        self,
        request: RequestSwitchConfiguration.Request,
        response: RequestSwitchConfiguration.Response,
    ) -> RequestSwitchConfiguration.Response:
        answer = RequestSwitchConfiguration.Response
        if not self.is_active:
            response.code, response.message = answer.CODE_NOT_ACTIVE, "switch control is not active"
            return response
        problem = self._controller.check(request.configuration)
        if problem is not None:
            known = request.configuration in self._pack.switching.configurations
            response.code = answer.CODE_FORBIDDEN if known else answer.CODE_UNKNOWN_CONFIGURATION
            response.message = problem
        elif request.validate_only:
            response.success, response.message = True, "can be reached"
        elif request.configuration == OPEN:
            self._open_requested = True
            self._notify()
            response.success, response.message = True, "opening"
        else:
            response.code = answer.CODE_NOT_PERMITTED
            response.message = "only opening is done here; for closing ask request_pack_state"
            if self._controller.waiting_for:
                response.message += f" (now it waits for {self._controller.waiting_for})"
        wish = "whether it may ask for" if request.validate_only else "for"
        self.tell(
            Event.KIND_REQUEST,
            f"somebody asks {wish} configuration {request.configuration!r}: {response.message}",
            Event.SEVERITY_INFO if response.success else Event.SEVERITY_WARNING,
        )
        return response

    def _report_switches(self, status: Status) -> None:
        controller = self._controller
        now_ns = self.clock.boot_ns()
        status.add(
            verified=controller.verified(now_ns),
            commanded=controller.commanded,
            reason=controller.reason.name.lower(),
            permits=self._permits,
            verdicts_rejected=controller.verdicts_rejected,
            requests_rejected=controller.requests_rejected,
            verdicts_lost=self._verdicts.lost,
            requests_lost=self._requests.lost,
            feedbacks_lost=self._feedbacks.lost,
            currents_lost=self._currents.lost,
            waiting_for=controller.waiting_for,
        )
        if controller.is_held:
            status.report(ERROR, "held closed: more flows than the contactors break")
        if controller.monitored_only:
            status.report(WARN, controller.monitored_only)
        if controller.mismatch(now_ns) or any(controller.shown_mismatch(now_ns)):
            status.report(ERROR, "feedback contradicts the command")
        if self.foreign_publishers():
            status.report(ERROR, f"second publisher on {', '.join(self.foreign_publishers())}")

    def _report_link(self, status: Status) -> None:
        health = self._link.receiver.health
        status.add(connected=health.connected, lost=self._link.decoder.lost)
        status.add_counts(health.counts)
        status.add_counts(self._link.decoder.rejected)
        feedback = self._controller.last_feedback
        if self.is_active and not self._controller.feedback_fresh(self.clock.boot_ns()):
            status.report(ERROR, "the switch board is silent")
        elif feedback is not None and feedback.dead_man_time_s > _BUDGET_S:
            status.report(WARN, "the board's dead-man time is too long for the 300 ms budget")


def _demands_attention(feedback: FeedbackInput) -> bool:
    """Whether protection must get this very frame: it counts fresh samples of these inputs."""
    return not feedback.interlock_closed or feedback.emergency_stop or feedback.crash_input


def _is_same(feedback: FeedbackInput, known: FeedbackInput | None) -> bool:
    """Whether nothing has changed that somebody waits for."""
    return known is not None and (
        feedback.closed,
        feedback.armed,
        feedback.dead_man_latched,
        _demands_attention(feedback),
    ) == (known.closed, known.armed, known.dead_man_latched, _demands_attention(known))


def main() -> int:
    """Process with the node ``switch_control``."""
    return run(SwitchControl, real_time_priority=CHAIN_PRIORITY)
