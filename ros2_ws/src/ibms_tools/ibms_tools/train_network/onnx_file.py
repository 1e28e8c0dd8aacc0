# SPDX-License-Identifier: Apache-2.0
"""A trained network as ONNX, one step with its state going in and out (needs torch and onnx)."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ibms_edge.estimation.network_file import NAMES
from ibms_tools.train_network.model import READINGS, ReadingNetwork

_OPERATORS = 17  # version of the operator set: years old, so that any runtime knows it


def to_onnx(network: ReadingNetwork) -> bytes:
    """The network as a model of one step for any number of cells."""
    features, hidden = NAMES
    unit, units = network.unit, network.unit.hidden_size
    factors, offsets = network.scales()
    width = len(network.mean)

    def reordered(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        # torch has reset, update, new; ONNX has update, reset, new.
        reset, update, new = np.split(values, 3)
        return np.concatenate([update, reset, new])

    def numbers(name: str, values: object, kind: type = np.float32) -> TensorProto:
        return numpy_helper.from_array(np.asarray(values, kind), name)

    def of(tensor: object) -> npt.NDArray[np.float32]:
        return np.asarray(tensor.detach().numpy(), np.float32)  # type: ignore[attr-defined]

    biases = [reordered(of(unit.bias_ih_l0)), reordered(of(unit.bias_hh_l0))]
    constants = [
        numbers("mean", of(network.mean)),
        numbers("std", of(network.std)),
        numbers("input_weights", reordered(of(unit.weight_ih_l0))[np.newaxis]),
        numbers("hidden_weights", reordered(of(unit.weight_hh_l0))[np.newaxis]),
        numbers("biases", np.concatenate(biases)[np.newaxis]),
        numbers("reading_weights", of(network.reading.weight)),
        numbers("reading_bias", of(network.reading.bias)),
        numbers("factors", factors),
        numbers("offsets", offsets),
        numbers("front", [0], np.int64),
        # The rough charge is the first feature and goes to the first reading.
        numbers("to_reading", np.eye(width, READINGS) * (np.arange(width) == 0)[:, np.newaxis]),
    ]
    node = helper.make_node
    nodes = [
        node("Sub", [features, "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["scaled"]),
        node("Unsqueeze", ["scaled", "front"], ["sequence"]),
        node("Unsqueeze", [hidden, "front"], ["before"]),
        node(
            "GRU",
            ["sequence", "input_weights", "hidden_weights", "biases", "", "before"],
            ["", "after"],
            hidden_size=units,
            linear_before_reset=1,
        ),
        node("Squeeze", ["after", "front"], ["next_hidden"]),
        node("Gemm", ["next_hidden", "reading_weights", "reading_bias"], ["raw"], transB=1),
        node("Tanh", ["raw"], ["bounded"]),
        node("Mul", ["bounded", "factors"], ["stretched"]),
        node("Add", ["stretched", "offsets"], ["shifted"]),
        node("MatMul", [features, "to_reading"], ["rough"]),
        node("Add", ["shifted", "rough"], ["reading"]),
    ]

    def value(name: str, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["cells", size])

    graph = helper.make_graph(
        nodes,
        "charge_reading",
        [value(features, width), value(hidden, units)],
        [value("reading", READINGS), value("next_hidden", units)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPERATORS)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
