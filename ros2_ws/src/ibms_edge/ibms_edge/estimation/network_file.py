# SPDX-License-Identifier: Apache-2.0
"""Trained networks: a description as YAML and the ONNX file beside it, one for a cell type. No ROS.

A file is called as the cell, in the folder that the environment variable IBMS_NETWORKS names;
without it, in config/networks of the installed configuration.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, cast

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from ibms_battery import configuration

NAMES = ("features", "hidden")  # of the network's inputs; outputs: reading, new hidden state
FOLDER_VARIABLE = "IBMS_NETWORKS"

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]

_INSTALLED = Path("share", "ibms_bringup", "config", "networks")


class NetworkError(ValueError):
    """A network that cannot be used; the text says why and how to mend it."""


class Session(Protocol):
    """What is used of an ``onnxruntime.InferenceSession``."""

    def run(
        self, output_names: Sequence[str] | None, inputs: dict[str, SingleArray]
    ) -> list[SingleArray]:
        """Outputs for inputs by name."""


class Curves(Struct, frozen=True, forbid_unknown_fields=True):
    """What turns voltages into a rough state of charge: as the cell was known at the training."""

    temperatures_c: Annotated[list[float], Meta(min_length=2, description="rising [degC]")]
    soc_points: Annotated[list[float], Meta(min_length=2, description="rising from 0 to 1")]
    ocv_v: Annotated[list[list[float]], Meta(description="a row for each temperature, rising [V]")]
    instant_ohm: Annotated[list[float], Meta(description="for each temperature: within 1 s")]
    fast_ohm: Annotated[list[float], Meta(description="for each temperature")]
    slow_ohm: Annotated[list[float], Meta(description="for each temperature")]
    fast_s: Annotated[float, Meta(gt=0, description="time constant")]
    slow_s: Annotated[float, Meta(gt=0, description="time constant")]


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """What must be known of a trained network to use it."""

    cell: Annotated[str, Meta(description="cell type that it was trained for")]
    capacity_ah: Annotated[float, Meta(gt=0, description="by which currents were scaled")]
    period_s: Annotated[float, Meta(gt=0, description="means over so long go in")]
    units: Annotated[int, Meta(ge=1, description="size of the hidden state")]
    bias_a: Annotated[float, Meta(gt=0, description="sigma of the current sensor's bias")]
    bias_drift_a: Annotated[float, Meta(ge=0, description="per square root of an hour")]
    soc_drift: Annotated[float, Meta(ge=0, description="of the charge, per square root of an hour")]
    lowest: Annotated[list[float], Meta(description="of each feature in training")]
    highest: Annotated[list[float], Meta(description="of each feature in training")]
    curves: Curves
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="of the ONNX file")]
    source: Annotated[str, Meta(description="what it was trained on, and how")]


@dataclass(frozen=True)
class LoadedNetwork:
    """A description with its network, ready to run."""

    description: Network
    session: Session


def network_folder() -> Path:
    """Folder of the networks.

    Raises:
        NetworkError: if the configuration is not installed and the environment names none.
    """
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix and (folder := Path(prefix) / _INSTALLED).is_dir():
            return folder
    raise NetworkError(
        f"no installed configuration holds networks; name their folder by {FOLDER_VARIABLE}, "
        "e.g. config/networks"
    )


def load_network(cell: str, folder: Path) -> LoadedNetwork:
    """Network of a cell type.

    Raises:
        NetworkError: if there is none, onnxruntime is missing, or the two files are not of one
            training.
        ConfigurationError: if the description is wrong.
    """
    file = folder / f"{cell}.yaml"
    if not file.is_file():
        found = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none"
        raise NetworkError(
            f"there is no network for cell {cell!r} in {folder}, there are: {found}; train one by "
            "python -m ibms_tools.train_network, or take another estimator"
        )
    document = configuration.read(file)
    description = configuration.convert(document, Network)
    if description.cell != cell:
        raise document.error(["cell"], f"found {description.cell!r} in the file of {cell!r}")
    model = file.with_suffix(".onnx")
    try:
        content = model.read_bytes()
    except OSError as error:
        raise NetworkError(f"{model}: cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != description.sha256:
        raise NetworkError(f"{model}: is not the file that {file.name} describes; train both anew")
    return LoadedNetwork(description, _session(content))


def _session(content: bytes) -> Session:
    try:
        # Only these estimators need it.
        import onnxruntime
    except ImportError as error:
        raise NetworkError(
            "estimators network and fused need onnxruntime, which is not installed: "
            "pip install onnxruntime, or take another estimator"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return cast(Session, session)
