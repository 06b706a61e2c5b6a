"""What is no chain, not known or damaged is refused in one sentence that names the step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sytorch
from tests.conftest import CHECKOUT
from tests.sytorch.files.graphs import OPSET, Array, node, onnx, saved

W: dict[str, Array] = {"w": np.eye(4, dtype=np.float32)}
PICTURE, VECTOR = ["n", 2, 6, 6], ["n", 4]
KERNEL: dict[str, Array] = {"k": np.ones((2, 2, 3, 3), dtype=np.float32)}


def ints(*values: int) -> dict[str, Array]:
    return {"s": np.array(values, dtype=np.int64)}


CASES: dict[str, tuple[Any, ...]] = {  # nodes, constants, the shape of the input, what is said
    "operation": ([node("Sigmoid", ["x"], "y", "squash")], {}, VECTOR, "step 0 (Sigmoid 'squash') is none of"),
    "branch": (
        [node("MatMul", ["x", "w"], "a"), node("Relu", ["a"], "b"), node("Add", ["a", "b"], "y")],
        *(W, VECTOR, "step 2 (Add) does not get just what the step before it gives"),
    ),
    "skipped": (
        [node("Relu", ["x"], "a"), node("MatMul", ["x", "w"], "y")],
        *(W, VECTOR, "step 1 (MatMul) does not get just"),
    ),
    "softmax": (
        [node("Softmax", ["x"], "a"), node("MatMul", ["a", "w"], "y")],
        *(W, VECTOR, "step 0 (Softmax) is no softmax over the outputs of each image, at the end"),
    ),
    "from the left": ([node("MatMul", ["w", "x"], "y")], W, [4, 4], "with a matrix from the right"),
    "transposed batch": ([node("Gemm", ["x", "w"], "y", transA=1)], W, [4, 4], "(transA)"),
    "zero": ([node("Gemm", ["x", "w"], "y", alpha=0.0)], W, VECTOR, "by zero (alpha, beta)"),
    "added to the input": (
        [node("Add", ["x", "b"], "y")],
        *({"b": np.ones(4, dtype=np.float32)}, VECTOR, "step 0 (Add) adds to the input"),
    ),
    "added twice": (
        [node("Gemm", ["x", "w", "b"], "a"), node("Add", ["a", "b"], "y")],
        *(W | {"b": np.ones(4, dtype=np.float32)}, VECTOR, "has its constant already"),
    ),
    "added to places": (
        [node("Conv", ["x", "k"], "a"), node("Add", ["a", "b"], "y")],
        *(KERNEL | {"b": np.ones((1, 4), dtype=np.float32)}, PICTURE, "no number for each of 2 units"),
    ),
    "batch moved": ([node("Transpose", ["x"], "y", perm=[1, 0])], {}, VECTOR, "moves the batch"),
    "batch mixed": ([node("Reshape", ["x", "s"], "y")], ints(1, -1), VECTOR, "does not keep every image of the batch"),
    "batch flattened": ([node("Flatten", ["x"], "y", axis=0)], {}, PICTURE, "does not flatten every image"),
    "ceiling": (
        [node("MaxPool", ["x"], "y", kernel_shape=[2, 2], ceil_mode=1)],
        *({}, PICTURE, "begin on the map and end outside (ceil_mode)"),
    ),
    "one side of a max-pool": (
        [node("MaxPool", ["x"], "y", kernel_shape=[2, 2], pads=[1, 0, 0, 0])],
        *({}, PICTURE, "pads one side more than the other"),
    ),
    "one side of a mean": (
        [node("AveragePool", ["x"], "y", kernel_shape=[2, 2], pads=[1, 0, 0, 0])],
        *({}, PICTURE, "without counting what it adds"),
    ),
    "one dimension": (
        [node("Conv", ["x", "k"], "y")],
        *({"k": np.ones((1, 2, 3), dtype=np.float32)}, ["n", 2, 6], "no two-dimensional convolution"),
    ),
    "weights computed": (
        [node("Relu", ["w"], "v"), node("MatMul", ["x", "v"], "y")],
        *(W, VECTOR, "step 0 (Relu) computes with constants alone"),
    ),
    "whole numbers": (
        [node("MatMul", ["x", "w"], "y")],
        *({"w": np.eye(4, dtype=np.float16)}, VECTOR, "of the type float16"),
    ),
    "not finite": (
        [node("MatMul", ["x", "w"], "y")],
        *({"w": np.full((4, 4), np.nan, dtype=np.float32)}, VECTOR, "has NaN or infinity in the constant 'w'"),
    ),
    "no layers": ([node("Identity", ["x"], "y")], {}, VECTOR, "it has no layers"),
    "unknown shape": ([node("Relu", ["x"], "y")], {}, ["n", 2, "h", "w"], "does not say the shape of its input 'x'"),
    "training": (
        [node("Dropout", ["x", "", "t"], "y")],
        *({"t": np.array(True)}, VECTOR, "step 0 (Dropout) is in training mode"),
    ),
    "wrong sizes": (
        [node("Relu", ["x"], "a"), node("MatMul", ["a", "w"], "y")],
        *({"w": np.ones((5, 3), dtype=np.float32)}, VECTOR, "step 1 (MatMul) takes nothing of the shape (4,)"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_read_is_named(tmp_path: Path, case: str) -> None:
    nodes, constants, shape, said = CASES[case]
    kind = onnx.TensorProto.FLOAT16 if case == "whole numbers" else onnx.TensorProto.FLOAT
    path = saved(tmp_path / "no.onnx", nodes, constants, shape, kind=kind, infer=case != "wrong sizes")
    with pytest.raises(sytorch.FileError) as failure:
        sytorch.read_onnx(path)
    told = str(failure.value)
    assert said in told and told.startswith(f"{path} cannot be read as a chain of layers: ")
    assert told.endswith(".") and "\n" not in told


def test_older_operations_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "old.onnx", [node("Relu", ["x"], "y")], {}, VECTOR, opset=6)
    with pytest.raises(sytorch.FileError, match="those of version 6"):
        sytorch.read_onnx(path)


def test_two_inputs_and_two_outputs_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "two.onnx", [node("Relu", ["x"], "y")], {}, VECTOR)
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_tensor_value_info("x", 1, VECTOR))
    onnx.save(model, path)
    with pytest.raises(sytorch.FileError, match="its outputs, 'y', 'x', are not just what its last step gives"):
        sytorch.read_onnx(path)
    del model.graph.output[1]
    model.graph.input.append(onnx.helper.make_tensor_value_info("z", 1, VECTOR))
    onnx.save(model, path)
    with pytest.raises(sytorch.FileError, match="it has 2 inputs"):
        sytorch.read_onnx(path)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("no protobuf at all, but a text of some length")


def _short_constant(path: Path) -> None:
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("damage", [_truncated, _empty, _text, _short_constant])
def test_damaged_files_are_told_in_one_sentence(tmp_path: Path, damage: Any) -> None:
    path = saved(tmp_path / "some.onnx", [node("MatMul", ["x", "w"], "y")], W, VECTOR)
    damage(path)
    with pytest.raises(sytorch.FileError) as failure:
        sytorch.read_onnx(path)
    assert str(failure.value).startswith(f"{path} is no ONNX file, or damaged: ") and "\n" not in str(failure.value)


def test_files_that_are_missing_are_told(tmp_path: Path) -> None:
    with pytest.raises(sytorch.FileError, match="No such file"):
        sytorch.read_onnx(tmp_path / "none.onnx")
    with pytest.raises(sytorch.FileError, match="cannot be read"):
        sytorch.read_onnx(tmp_path)


def test_the_package_is_imported_when_it_is_needed() -> None:
    asked = "import sys, sytorch; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False, cwd=CHECKOUT).returncode == 0


def test_a_missing_package_is_told_with_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(sytorch.MissingPackageError, match="uv sync --extra onnx"):
        sytorch.read_onnx(tmp_path / "some.onnx")


def test_the_builder_makes_what_onnx_accepts(tmp_path: Path) -> None:
    path = saved(tmp_path / "good.onnx", [node("MatMul", ["x", "w"], "y")], W, VECTOR, opset=OPSET)
    onnx.checker.check_model(path, full_check=True)
