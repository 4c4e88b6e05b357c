"""Files that were made to reach beyond themselves, and files that are none."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from leanline.compaction import load_onnx, onnx_session
from leanline.errors import CheckpointError, ConfigError
from leanline.runtime import OnnxNetwork


def tensor(name: str, location: str | None = None) -> TensorProto:
    made = numpy_helper.from_array(np.ones(2, np.float32), name)
    if location is not None:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=location)
    return made


def model(initialisers: list[TensorProto], nodes: list[onnx.NodeProto] | None = None):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    nodes = nodes or [helper.make_node("Add", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def write(made: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def constant(location: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], value=tensor("c", location))


def in_a_branch(location: str) -> onnx.ModelProto:
    info = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])
    branch = helper.make_graph([constant(location)], "branch", [], [info])
    condition = numpy_helper.from_array(np.array(True), "if")
    chosen = helper.make_node("If", ["if"], ["v"], then_branch=branch, else_branch=branch)
    return model([condition], [chosen, helper.make_node("Add", ["x", "v"], ["y"])])


def in_a_function(location: str) -> onnx.ModelProto:
    made = model([], [helper.make_node("own", ["x"], ["y"], domain="d")])
    made.opset_import.append(helper.make_opsetid("d", 1))
    nodes = [constant(location), helper.make_node("Add", ["a", "w"], ["b"])]
    opset = [helper.make_opsetid("", 18)]
    made.functions.append(helper.make_function("d", "own", ["a"], ["b"], nodes, opset))
    return made


def sparse(location: str) -> onnx.ModelProto:
    made = model([tensor("w")])
    values, indices = tensor("s", location), numpy_helper.from_array(np.array([0, 1]), "i")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    return made


PLACES = {
    "initialiser": lambda location: model([tensor("w", location)]),
    "second initialiser": lambda location: model([tensor("w"), tensor("v", location)]),
    "constant": lambda location: model(
        [], [constant(location), helper.make_node("Add", ["x", "w"], ["y"])]
    ),
    "branch": in_a_branch,
    "function": in_a_function,
    "sparse": sparse,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "weights.bin", ""])
def test_external_data_are_refused_wherever_they_stand(
    tmp_path: Path, place: str, location: str
) -> None:
    path = write(PLACES[place](location), tmp_path / "net.onnx")
    (tmp_path / "weights.bin").write_bytes(bytes(8))  # even where it would fit
    for read in (load_onnx, onnx_session, OnnxNetwork):
        with pytest.raises(CheckpointError, match="external data") as caught:
            read(path)
        assert repr(location) in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(CheckpointError, match="external data"):
        onnx_session(PLACES[place](location))


def test_data_that_only_claim_a_place_are_refused(tmp_path: Path) -> None:
    made = model([tensor("w")])
    made.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(CheckpointError, match="external data"):
        load_onnx(write(made, tmp_path / "net.onnx"))


def test_files_that_are_none(tmp_path: Path) -> None:
    whole = model([tensor("w")]).SerializeToString()
    for name, content in {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "noise": bytes(range(256)),
        "text": b"weights",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            load_onnx(tmp_path / name)
    for missing in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(CheckpointError, match="there is no file"):
            load_onnx(missing)


def test_a_file_above_two_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 2**31)  # sparse: takes no room
    with pytest.raises(CheckpointError, match="2,147,483,648 bytes"):
        load_onnx(path)


def test_what_onnx_runtime_cannot_run(tmp_path: Path) -> None:
    made = model([], [helper.make_node("NoSuchThing", ["x"], ["y"])])
    with pytest.raises(CheckpointError, match=r"cannot run .*net.onnx.*NoSuchThing"):
        OnnxNetwork(write(made, tmp_path / "net.onnx"))
    with pytest.raises(ConfigError, match="threads=0"):
        onnx_session(write(model([tensor("w")]), tmp_path / "net.onnx"), threads=0)


def test_a_file_that_is_whole_runs(tmp_path: Path) -> None:
    path = write(model([tensor("w")]), tmp_path / "net.onnx")
    network = OnnxNetwork(path, threads=1)
    assert network(torch.tensor([1.0, 2.0])).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_without_the_optional_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = write(model([tensor("w")]), tmp_path / "net.onnx")
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ConfigError, match=rf"{name}.*pip install leanline\[onnx\]"):
        onnx_session(path)
