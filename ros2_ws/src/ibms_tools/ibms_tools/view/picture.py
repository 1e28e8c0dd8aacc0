# SPDX-License-Identifier: Apache-2.0
"""All that is shown at one moment, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ibms_battery.pack import Pack
from ibms_tools.view.loads import Load


@dataclass(frozen=True)
class Flow:
    """How a topic of the chain runs: ``lateness_s`` is the time from sampling to receipt here."""

    received: int = 0
    rate_hz: float = float("nan")
    lost: int = 0
    lateness_s: float = float("nan")


@dataclass(frozen=True)
class Picture:
    """What is known now. A message is ``None`` while its topic is silent.

    ``titles`` are short words of what runs and where; ``phase`` says what is being done; ``notes``
    are sentences that stand until the end, such as what was injected.
    """

    pack: Pack
    titles: Sequence[str] = ()
    phase: str = ""
    elapsed_s: float = 0.0
    notes: Sequence[str] = ()
    state: Any = None  # PackState
    switch: Any = None  # SwitchState
    sample: Any = None  # PackMeasurement
    cells: Any = None  # CellStates
    estimate: Any = None  # PackEstimate
    prediction: Any = None  # PackPower
    protection: Any = None  # ProtectionStatus
    limits: Any = None  # PackLimits
    balancing: Any = None  # BalancingStatus
    thermal: Any = None  # ThermalState
    insulation: Any = None  # InsulationMeasurement
    scans: Flow = Flow()
    samples: Flow = Flow()
    verdicts: Flow = Flow()
    events: Sequence[Any] = ()  # Event, oldest first
    diagnoses: dict[int, str] = field(default_factory=dict)  # what they mean
    loads: Sequence[Load] = ()
    view_cpu_cores: float = float("nan")
    log: str = ""
