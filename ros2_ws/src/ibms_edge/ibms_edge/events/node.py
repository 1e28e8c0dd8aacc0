# SPDX-License-Identifier: Apache-2.0
"""Node ``event_recorder``: the memory of the pack, and its answer to why the pack opened."""

from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from builtin_interfaces.msg import Time
from msgspec import Meta, Struct
from rclpy.serialization import deserialize_message

from ibms_battery.clock import NS_PER_S, Clock, VirtualClock
from ibms_battery.pack import load_pack
from ibms_edge.events.diagnoses import demanding, in_words
from ibms_edge.events.explanation import explain, story
from ibms_edge.events.frame import FreezeFrames
from ibms_edge.events.reader import EventReader, MemoryReadError
from ibms_edge.events.records import EventRecord, Opening, Piece, Recorded, SwitchUse
from ibms_edge.events.store import DEVICE, EventStore
from ibms_edge.events.watch import COMMAND, PACK_STATE, SWITCHES, OpeningWatch
from ibms_edge.events.wear import unused, use_of_opening
from ibms_edge.events.writer import StoreWriter
from ibms_edge.protection.table import table_of
from ibms_msgs.msg import Event, ProtectionLockouts, SwitchWear
from ibms_msgs.srv import ExplainOpening
from ibms_ros_common.diagnostics import ERROR, WARN, Status
from ibms_ros_common.manifest import interface_class, manifest
from ibms_ros_common.node import BmsNode

# Without them protection forbids closing, in a replay as well.
_LASTING_TOPICS = ("protection/lockouts",)
FRAME_TOPICS = (
    *_LASTING_TOPICS,
    "cells/measurement",
    "pack/measurement",
    "insulation/measurement",
    "environment/measurement",
    "protection/status",
    "switch/state",
    "switch/command",
    "pack/state",
)
_ADVANCE_S = 0.1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_REPLAY = "replay"  # stands for the boot of recorded times


class EventRecorderParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``event_recorder``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    state_directory: Annotated[str, Meta(description="folder of the event database")]
    diagnoses: Annotated[
        str, Meta(description="table of diagnoses; empty: the one that the pack names")
    ] = ""


class EventRecorder(BmsNode[EventRecorderParameters]):
    """Looks on and writes in a thread of its own, apart from the time-critical chain."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("event_recorder", EventRecorderParameters, clock, **options)

    def configure(self, parameters: EventRecorderParameters) -> None:
        """Read the configuration and create interfaces; the database is opened with activation."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        if not parameters.state_directory:
            raise ValueError(
                "parameter 'state_directory' is empty; name a folder for the event database"
            )
        folder = Path(parameters.state_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{pack.name}.events.sqlite"
        table = table_of(parameters.pack, pack, parameters.diagnoses)
        self._diagnoses = in_words(table.diagnoses)
        self._lockouts = table.lockouts
        self._switches = pack.switching.switches
        replayed = isinstance(self.clock, VirtualClock)
        self._boot_id = _REPLAY if replayed else _BOOT_ID.read_text().strip()
        self._kinds = {
            topic: interface_class(manifest().topics[topic].type) for topic in FRAME_TOPICS
        }
        self._writer = StoreWriter(
            self._path, self._open, self._on_open, self._on_loss, threaded=not replayed
        )
        self._frames = FreezeFrames(self._on_piece, _LASTING_TOPICS)
        self._watch = OpeningWatch(
            self.clock, self._frames, self._decode, self, demanding(table.diagnoses)
        )
        self._size_bytes = 0
        # The newest opening is asked for each second, in an executor that others need as well.
        self._newest: tuple[Counter[str], ExplainOpening.Response] | None = None
        self.advertise("protection/lockouts", "switch/wear")
        self.listen("events", self._on_event)
        self._watched: dict[str, Callable[[Any], None]] = {
            SWITCHES: self._watch.switches,
            COMMAND: self._watch.command,
            PACK_STATE: self._watch.pack_state,
        }
        self.look_on(FRAME_TOPICS, self._take)
        self.every(_ADVANCE_S, self._advance)
        self.serve("explain_opening", self._on_explain)
        self.diagnose("events", self._report)

    def activate(self) -> None:
        """Open the database."""
        self._writer.start()

    def deactivate(self) -> None:
        """Write what there is and close the database."""
        self._frames.finish(self.clock.boot_ns())
        self._writer.stop()

    # What the watch and the freeze frames have stored

    def put(self, opening: Opening) -> None:
        """Store an opening."""
        self._writer.submit("openings", lambda store: store.put(opening))

    def put_closed(self, wall_ns: int) -> None:
        """Store that the switches closed."""
        self._writer.submit("closings", lambda store: store.put_closed(wall_ns))

    def _on_piece(self, piece: Piece) -> None:
        self._writer.submit("pieces of freeze frames", lambda store: store.add_piece(piece))

    # Inputs

    def _on_event(self, message: Event) -> None:
        stamp = message.header.stamp
        event = EventRecord(
            wall_ns=stamp.sec * NS_PER_S + stamp.nanosec,
            boot_ns=message.boot_ns,
            source=message.source,
            kind=message.kind,
            severity=message.severity,
            diagnosis=message.diagnosis,
            element=message.element,
            value=message.value,
            text=message.text,
        )
        self._writer.submit(
            "events",
            lambda store: self._add(store, event),
            keep=event.diagnosis in self._lockouts,
        )
        self._watch.event(event)

    def _take(self, topic: str, received_ns: int, data: bytes) -> None:
        message = Recorded(topic, received_ns, data)
        self._frames.take(message)
        watch = self._watched.get(topic)
        if watch is not None:
            watch(self._decode(message))

    def _decode(self, message: Recorded) -> Any:
        return deserialize_message(message.data, self._kinds[message.topic])

    def _advance(self) -> None:
        self._frames.advance(self.clock.boot_ns())
        self._watch.advance()

    # In the writer's thread

    def _open(self) -> EventStore:
        return EventStore(
            self._path,
            self._boot_id,
            lockouts=self._lockouts,
            wear=self._wear,
            diagnoses=self._diagnoses,
        )

    def _on_open(self, store: EventStore) -> None:
        closed_since = store.closed_since()
        newest = store.newest_wall_ns()
        self._watch.resume(None if closed_since is None else max(closed_since, newest or 0))
        self._publish_lockouts(store)
        self._publish_wear(store)

    def _on_loss(self, store: EventStore, text: str) -> None:
        store.lock_all()
        store.add(
            EventRecord(
                wall_ns=self.clock.wall_ns(),
                boot_ns=self.clock.boot_ns(),
                source=self.get_name(),
                kind=DEVICE,
                severity=Event.SEVERITY_ERROR,
                diagnosis=0,
                element=-1,
                value=float("nan"),
                text=f"{text}; all lock-outs stand until they are acknowledged, wear counts anew",
            )
        )

    def _add(self, store: EventStore, event: EventRecord) -> None:
        effect = store.add(event)
        self._size_bytes = store.used_bytes()
        # On disk first: what was told must still be true after a power loss.
        if effect.lockouts:
            self._publish_lockouts(store)
        if effect.wear:
            self._publish_wear(store)

    def _wear(self, element: int, current_a: float) -> tuple[str, SwitchUse] | None:
        if element >= len(self._switches):
            return None
        switch = self._switches[element]
        return switch.name, use_of_opening(switch, current_a)

    def _publish_lockouts(self, store: EventStore) -> None:
        standing = store.lockouts()
        message = ProtectionLockouts(header=self.header(), boot_ns=self.clock.boot_ns())
        message.diagnosis = array("H", [lockout.diagnosis for lockout in standing])
        message.element = array("i", [lockout.element for lockout in standing])
        message.value = array("f", [lockout.value for lockout in standing])
        self.publish("protection/lockouts", message)

    def _publish_wear(self, store: EventStore) -> None:
        known = store.wear()
        use = [known.get(switch.name, unused(switch)) for switch in self._switches]
        message = SwitchWear(header=self.header(), boot_ns=self.clock.boot_ns())
        message.operations = array("I", [each.operations for each in use])
        message.operations_under_load = array("I", [each.under_load for each in use])
        message.operations_above_break = array("I", [each.above_break for each in use])
        message.life_used = array("f", [each.life_used for each in use])
        self.publish("switch/wear", message)

    # Answers

    def _on_explain(
        self, request: ExplainOpening.Request, response: ExplainOpening.Response
    ) -> ExplainOpening.Response:
        response.cause_element, response.cause_value = -1, float("nan")
        if not self.is_active:
            response.code = ExplainOpening.Response.CODE_NOT_ACTIVE
            response.message = "the event recorder is not active"
            return response
        if request.index:
            return self._explained(request.index, response)
        stored = self._writer.done.copy()  # before it is read: what comes meanwhile is asked anew
        if self._newest is None or self._newest[0] != stored:
            response = self._explained(0, response)
            if response.code == ExplainOpening.Response.CODE_NOT_ACTIVE:
                return response
            self._newest = (stored, response)
        return self._newest[1]

    def _explained(self, index: int, response: ExplainOpening.Response) -> ExplainOpening.Response:
        try:
            with EventReader(self._path) as memory:
                response.openings = memory.openings()
                explanation = explain(memory, index)
        except MemoryReadError as error:  # nobody knows how many there are
            response.code = ExplainOpening.Response.CODE_NOT_ACTIVE
            response.message = str(error)
            return response
        if explanation is None:
            response.code = ExplainOpening.Response.CODE_NO_SUCH_OPENING
            response.message = f"{response.openings} openings are remembered"
            return response
        opening = explanation.opening
        response.success, response.code = True, ExplainOpening.Response.CODE_OK
        seconds, nanoseconds = divmod(opening.wall_ns, NS_PER_S)
        response.stamp = Time(sec=seconds, nanosec=nanoseconds)
        response.reason = opening.reason
        response.cause, response.cause_element = opening.cause, opening.cause_element
        response.cause_value = opening.cause_value
        response.freeze_frame_samples = explanation.frame.messages if explanation.frame else 0
        response.message = story(explanation)
        return response

    def _report(self, status: Status) -> None:
        writer = self._writer
        status.add_counts({f"stored {what}": count for what, count in writer.done.items()})
        status.add_counts({f"lost {what}": count for what, count in writer.lost.items()})
        status.add(
            waiting=writer.waiting,
            openings=self._watch.openings,
            freeze_frames=self._frames.frames,
            size_mb=self._size_bytes / 1e6,
            missed_messages=self.onlooker.lost if self.onlooker is not None else 0,
        )
        if writer.problem:
            status.report(ERROR, f"nothing can be stored: {writer.problem}")
        if writer.lost:
            lost = ", ".join(f"{count} {what}" for what, count in writer.lost.items())
            status.report(WARN, f"not stored: {lost}")
        if writer.loss:
            status.report(WARN, writer.loss)
