# SPDX-License-Identifier: Apache-2.0
"""Cell models adopted while running: what is accepted, what is kept, what is rolled back. No ROS.

Every model is held against the configured one, so that many small steps lead no further than one.

A model that was adopted is on trial. It is rolled back when the voltages contradict it clearly more
than the one before: when the median over the cells of their mean innovation ratios is above 3 and
more than twice what it was with the one before. A filter may also give way to a wrong model, by
moving the charge: it is rolled back as well when cells whose charge was known have moved away from
it, beyond what flowed, by more than three sigma and 2 %. It has proved itself when neither has
happened in ten minutes in which current flowed: a rest shows little of a circuit.
"""

from enum import Enum, auto

import msgspec
import numpy as np
import numpy.typing as npt

from ibms_battery import configuration
from ibms_battery.cell import Cell, check_cell
from ibms_battery.circuit import Circuit, build_circuit, model_of
from ibms_battery.configuration import ConfigurationError
from ibms_edge.estimation.circuit_place import CircuitPlace, FloatArray

SCHEMA = 1
LARGEST_TEXT = 64 * 1024  # a shipped file has 10 KB
_CAPACITY = 0.3
_RESISTANCE = (0.4, 3.0)  # of the configured one: the lowest and the highest
_TIME_FACTOR = 5.0
_UNCERTAINTY_FACTOR = 10.0
_OCV_SHARE = 0.02  # of the cell's voltage range
# A configured cell without an identified model is known by its rated data only.
_RATED_RESISTANCE, _RATED_OCV_SHARE = (0.2, 5.0), 0.05
_LOWEST_SOC = 0.1  # below, a small change of the convention moves the voltage far
_TRIAL_S = 600.0
_WORSE = 2.0
_CLEARLY = 3.0
_KNOWN_STD = 0.03  # a charge less certain than this tells nothing of a model
_MOVED_SIGMAS, _MOVED = 3.0, 0.02
_COUNTED_S = 3600.0  # longer, the bias of the current sensor would show
# Everything but what a model is identified with. Protection, limits and charging read the
# configured file themselves; a model for other limits is a model for another cell.
_FIXED = (
    "name",
    "chemistry",
    "minimum_voltage_v",
    "maximum_voltage_v",
    "nominal_voltage_v",
    "maximum_charge_current_a",
    "maximum_discharge_current_a",
)


class RefusedError(ValueError):
    """A model that is not adopted; the text says why."""


class Verdict(Enum):
    """Of a trial."""

    OPEN = auto()
    PROVED = auto()
    WORSE = auto()


class _Charge:
    """Where the charge of cells (cells,) should be by counting, since a model was adopted."""

    def __init__(self, soc: FloatArray, soc_std: FloatArray) -> None:
        self._soc = soc.copy()
        self._allowed = max(_MOVED_SIGMAS * _median(soc_std, np.inf), _MOVED)
        self._counted_s = 0.0

    def is_left(self, soc: FloatArray, flowed: FloatArray, step_s: float) -> bool:
        """Whether the estimate has moved away, after ``flowed`` [1] of charge in this step."""
        self._counted_s += step_s
        self._soc += flowed
        if self._counted_s > _COUNTED_S:
            return False
        return _median(np.abs(soc - self._soc), 0.0) > self._allowed


class _Kept(msgspec.Struct, frozen=True):
    schema: int
    active: str  # text of a cell file; empty: the configured one
    previous: str | None
    refused_version: int
    trial_s: float | None
    baseline: float


class CellUpdates:
    """The model in use, the one before, and the trial of the newer one.

    Args:
        configured: cell of the configuration, with or without an identified model.
    """

    def __init__(self, configured: Cell) -> None:
        self._configured = configured
        self._active_text = ""
        self._previous_text: str | None = None
        self._refused_version = 0  # highest that was rolled back
        self._trial_s: float | None = None
        self._baseline = 1.0
        self._charge: _Charge | None = None
        self.active = configured

    @property
    def version(self) -> int:
        """Version of the model in use."""
        return model_of(self.active).version

    @property
    def is_on_trial(self) -> bool:
        """Whether the model in use may still be rolled back by itself."""
        return self._trial_s is not None

    def update(
        self, text: str, ratio: float, soc: FloatArray | None = None, std: FloatArray | None = None
    ) -> Cell:
        """Adopt the cell described by ``text``; it is on trial from now on.

        Args:
            text: a cell file.
            ratio: median over the cells of their mean innovation ratios with the model in use.
            soc: states of charge (cells,) at this moment, NaN where unknown; None: not watched.
            std: their standard deviations.

        Raises:
            RefusedError: if it is not adopted; nothing has changed then.
        """
        if self._trial_s is not None:
            raise RefusedError(
                f"version {self.version} is on trial for another {_TRIAL_S - self._trial_s:.0f} s "
                "in which current flows; wait, or end the trial by roll_back_cell_model"
            )
        cell = read_cell(text)
        check_fit(self._configured, self.active, cell)
        version = model_of(cell).version
        if version <= self._refused_version:
            raise RefusedError(
                f"model.version: version {self._refused_version} was rolled back, so a new model "
                f"needs a higher one, found {version}"
            )
        self._previous_text, self._active_text = self._active_text, text
        self.active = cell
        self._trial_s = 0.0
        self._baseline = ratio if ratio == ratio else 1.0
        self._charge = None
        if soc is not None and std is not None and _median(std, np.inf) < _KNOWN_STD:
            self._charge = _Charge(soc, std)
        return cell

    def roll_back(self) -> Cell:
        """Return to the cell before the last update.

        Raises:
            RefusedError: if there is none.
        """
        if self._previous_text is None:
            raise RefusedError("there is no model to return to: none was updated since")
        self._refused_version = max(self._refused_version, self.version)
        self._active_text, self._previous_text = self._previous_text, None
        self._trial_s = self._charge = None
        self.active = self._cell(self._active_text)
        return self.active

    def judge(
        self,
        ratio: float,
        current_flows: bool,
        step_s: float,
        soc: FloatArray | None = None,
        flowed: FloatArray | None = None,
    ) -> Verdict:
        """Judge the trial, if there is one; after ``WORSE`` call ``roll_back``.

        Args:
            ratio: as for ``update``, begun anew with the update.
            current_flows: whether this step can show anything of the circuit.
            step_s: time since the last call [s].
            soc: states of charge now (cells,), as for ``update``.
            flowed: charge that flowed in this step over the capacity [1] (cells,), the sensor's
                bias taken off; NaN where unknown.
        """
        if self._trial_s is None:
            return Verdict.OPEN
        if ratio > max(_WORSE * self._baseline, _CLEARLY):
            return Verdict.WORSE
        if (
            self._charge is not None
            and soc is not None
            and flowed is not None
            and self._charge.is_left(soc, flowed, step_s)
        ):
            return Verdict.WORSE
        if current_flows:
            self._trial_s += step_s
        if self._trial_s < _TRIAL_S:
            return Verdict.OPEN
        self._trial_s = self._charge = None
        return Verdict.PROVED

    def encode(self) -> bytes:
        """What must outlive a restart."""
        return msgspec.msgpack.encode(
            _Kept(
                SCHEMA,
                self._active_text,
                self._previous_text,
                self._refused_version,
                self._trial_s,
                self._baseline,
            )
        )

    def resume(self, data: bytes) -> None:
        """Go on with what ``encode`` gave before a restart.

        Raises:
            RefusedError: if it does not fit any more, e.g. as the configured file is newer; the
                configured cell is in use then.
        """
        try:
            kept = msgspec.msgpack.decode(data, type=_Kept)
        except msgspec.DecodeError as error:
            raise RefusedError(f"kept cell models cannot be read: {error}") from error
        if kept.schema != SCHEMA:
            raise RefusedError(f"kept cell models have schema {kept.schema}, expected {SCHEMA}")
        self._refused_version = kept.refused_version
        if not kept.active:
            return
        active = read_cell(kept.active)
        check_fit(self._configured, self._configured, active)
        if kept.previous:
            check_fit(self._configured, self._configured, read_cell(kept.previous))
        self.active = active
        self._active_text, self._previous_text = kept.active, kept.previous
        self._trial_s, self._baseline = kept.trial_s, kept.baseline

    def _cell(self, text: str) -> Cell:
        return read_cell(text) if text else self._configured


def read_cell(text: str) -> Cell:
    """Cell of the text of a cell file; raises ``RefusedError``."""
    if len(text) > LARGEST_TEXT:
        raise RefusedError(f"is {len(text)} characters long, at most {LARGEST_TEXT} are read")
    try:
        return check_cell(configuration.parse(text, "update"))
    except ConfigurationError as error:
        place = "" if error.line is None else f"line {error.line}: "
        key = f"{error.key}: " if error.key else ""
        raise RefusedError(f"{place}{key}{error.problem}") from error


def check_fit(configured: Cell, active: Cell, new: Cell) -> None:
    """Raise ``RefusedError`` unless ``new`` may follow ``active`` in a pack of ``configured``."""
    for name in _FIXED:
        wanted, found = getattr(configured, name), getattr(new, name)
        if found != wanted:
            raise RefusedError(f"{name}: must stay {wanted!r} as configured, found {found!r}")
    if new.model is None:
        raise RefusedError("model: is missing; ./ibms identify writes it")
    version = model_of(active).version
    # The model made of rated data alone is nobody's work: any identified one is newer.
    if active.model is not None and new.model.version <= version:
        raise RefusedError(
            f"model.version: must be above {version}, which is in use, found {new.model.version}"
        )
    if abs(new.capacity_ah / configured.capacity_ah - 1.0) > _CAPACITY:
        raise RefusedError(
            f"capacity_ah: must lie within {_CAPACITY:.0%} of the configured "
            f"{configured.capacity_ah:g} A h, found {new.capacity_ah:g}"
        )
    _check_tables(configured, new)


def _check_tables(old: Cell, new: Cell) -> None:
    before, after = build_circuit(old), build_circuit(new)
    low_c = max(before.first_temperature_c, after.first_temperature_c)
    high_c = min(_last_temperature_c(before), _last_temperature_c(after))
    if low_c > high_c:
        raise RefusedError("model.temperatures_c: has no temperature in common with the configured")
    temperatures_c = np.linspace(low_c, high_c, 8)
    socs = np.linspace(_LOWEST_SOC, 1.0, 19)[:, np.newaxis] * np.ones(len(temperatures_c))
    places = [CircuitPlace(circuit, temperatures_c) for circuit in (before, after)]
    rated = old.model is None
    ocv_share, (lowest, highest) = (
        (_RATED_OCV_SHARE, _RATED_RESISTANCE) if rated else (_OCV_SHARE, _RESISTANCE)
    )
    allowed_v = ocv_share * (old.maximum_voltage_v - old.minimum_voltage_v)
    old_v, new_v = (
        place.table(circuit.ocv_v, socs)
        for place, circuit in zip(places, (before, after), strict=True)
    )
    _refuse_where(
        np.abs(new_v - old_v) > allowed_v,
        f"the open-circuit voltage is more than {allowed_v * 1e3:.0f} mV off the configured",
        socs,
        temperatures_c,
    )
    for name, tables in (
        ("series resistance", ("ohmic_ohm",)),
        ("whole resistance", ("ohmic_ohm", "activation_ohm", "fast_ohm", "slow_ohm")),
    ):
        old_ohm, new_ohm = (
            place.table(sum(getattr(circuit, table) for table in tables), socs)
            for place, circuit in zip(places, (before, after), strict=True)
        )
        _refuse_where(
            (new_ohm > highest * old_ohm) | (new_ohm < lowest * old_ohm),
            f"the {name} is beyond {lowest:g} to {highest:g} times the configured",
            socs,
            temperatures_c,
        )
    for name, table in (("fast", "fast_s"), ("slow", "slow_s")):
        ratio = getattr(after, table) / getattr(before, table)
        if not 1.0 / _TIME_FACTOR <= ratio <= _TIME_FACTOR:
            raise RefusedError(
                f"model.{name}.time_constant_s: beyond {1 / _TIME_FACTOR:g} to {_TIME_FACTOR:g} "
                f"times the configured ({getattr(before, table):g} s), found "
                f"{getattr(after, table):g} s"
            )
    if (np.abs(after.hysteresis_v) > np.abs(before.hysteresis_v).max() + allowed_v).any():
        raise RefusedError(
            f"model.hysteresis.voltage_v: more than {allowed_v * 1e3:.0f} mV above the configured"
        )
    if old.model is None:
        return  # the doubt about a model of rated data alone is no measure
    was, now = old.model.uncertainty, model_of(new).uncertainty
    for name in now.__struct_fields__:
        was_value, now_value = getattr(was, name), getattr(now, name)
        if was_value > 0.0 and not (
            was_value / _UNCERTAINTY_FACTOR <= now_value <= was_value * _UNCERTAINTY_FACTOR
        ):
            raise RefusedError(
                f"model.uncertainty.{name}: beyond {1 / _UNCERTAINTY_FACTOR:g} to "
                f"{_UNCERTAINTY_FACTOR:g} times the configured ({was_value:g}), found "
                f"{now_value:g}"
            )


def _median(values: FloatArray, otherwise: float) -> float:
    """Of the finite values."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else otherwise


def _refuse_where(
    wrong: npt.NDArray[np.bool_], text: str, socs: FloatArray, temperatures_c: FloatArray
) -> None:
    places = np.argwhere(wrong)
    if places.size:
        row, column = places[0]
        raise RefusedError(
            f"model: {text}, first at {socs[row, column]:.0%} charge and "
            f"{temperatures_c[column]:.0f} degC"
        )


def _last_temperature_c(circuit: Circuit) -> float:
    rows = len(circuit.ocv_v)
    return circuit.first_temperature_c + circuit.temperature_step_k * (rows - 1)
