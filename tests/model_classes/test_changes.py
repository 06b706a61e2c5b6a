"""A file of changes stands for the weights it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import ToolError
from model_classes.alexnet import blank_alexnet, load_alexnet
from model_classes.changes import apply_to, changes_content, restorable, restored, thin, whole
from model_classes.weights import read_weights, weights_hash


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = blank_alexnet(10)
    state = {name: torch.randn(value.shape) * 0.01 for name, value in model.state_dict().items()}
    torch.save(state, tmp_path / "base.pth")
    return tmp_path / "base.pth"


def _save_changes(base: Path, path: Path, changes: dict[str, torch.Tensor]) -> Path:
    path.parent.mkdir(exist_ok=True)
    torch.save(changes_content(changes, base, weights_hash(read_weights(base)), path), path)
    return path


def test_the_weights_come_back_bit_for_bit(base: Path) -> None:
    state = read_weights(base)
    after = state["classifier.6.weight"] + torch.randn(10, 4096)
    change = after.double() - state["classifier.6.weight"].double()
    path = _save_changes(base, base.parent / "sweep" / "changes.pth", {"classifier.6.weight": change})
    assert path.stat().st_size < 400_000
    loaded = load_alexnet(path, 10).state_dict()
    assert torch.equal(loaded["classifier.6.weight"], after)
    assert all(torch.equal(loaded[name], state[name]) for name in state if name != "classifier.6.weight")


@settings(max_examples=30, deadline=None)
@given(rows=st.sets(st.integers(0, 9), max_size=10), seed=st.integers(0, 9))
def test_few_rows_are_stored_alone_and_come_back(rows: set[int], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for shape in ((10,), (10, 3), (10, 3, 2, 2)):
        change = torch.zeros(shape, dtype=torch.float64)
        change[sorted(rows)] = torch.randn(len(rows), *shape[1:], dtype=torch.float64, generator=draw)
        stored = thin({"w": change})
        assert len(stored["w"]) == (len(rows) if 2 * len(rows) < 10 else 10)
        assert torch.equal(whole(stored, {"w": 10})["w"], change)
        base = torch.randn(shape, generator=draw)
        made = apply_to({"w": base}, {"changes": stored}, Path("w.pth"))
        assert torch.equal(made["w"], restored(base, change))


def test_what_older_versions_wrote_is_read(base: Path) -> None:
    content = changes_content({}, base, weights_hash(read_weights(base)), base.parent / "old.pth")
    change = torch.zeros(4096, 4096, dtype=torch.float64)
    change[7] = 1
    torch.save(
        {**content, "format": "alexnet-repair changes 1", "changes": {"classifier.4.weight": change}},
        base.parent / "old.pth",
    )
    loaded = load_alexnet(base.parent / "old.pth", 10).state_dict()["classifier.4.weight"]
    assert torch.equal(loaded, (read_weights(base)["classifier.4.weight"].double() + change).float())


@pytest.mark.parametrize("rows", [[4096], [-1], [[0]], [0, 1], [0.0]])
def test_rows_that_are_none_are_refused(base: Path, rows: list[int]) -> None:
    path = base.parent / "changes.pth"
    content = changes_content({}, base, weights_hash(read_weights(base)), path)
    changes = {"classifier.4.bias": torch.ones(1, dtype=torch.float64), "classifier.4.bias:rows": torch.tensor(rows)}
    torch.save({**content, "changes": changes}, path)
    with pytest.raises(ToolError, match=r"do not fit their base: classifier\.4\.bias"):
        read_weights(path)


def test_a_base_that_went_away_is_named(base: Path) -> None:
    path = _save_changes(base, base.parent / "changes.pth", {})
    base.unlink()
    with pytest.raises(ToolError, match=r"base\.pth.*does not exist"):
        read_weights(path)


def test_another_base_is_refused(base: Path) -> None:
    path = _save_changes(base, base.parent / "changes.pth", {})
    state = read_weights(base)
    state["classifier.6.bias"] += 1
    torch.save(state, base)
    with pytest.raises(ToolError, match=r"base\.pth"):
        read_weights(path)


def test_changes_of_another_shape_are_refused(base: Path) -> None:
    path = _save_changes(base, base.parent / "changes.pth", {"classifier.6.bias": torch.ones(3)})
    with pytest.raises(ToolError, match=r"do not fit their base: classifier\.6\.bias"):
        read_weights(path)


@settings(max_examples=300, deadline=None)
@given(
    before=st.lists(st.floats(-5.0, 5.0, width=32), min_size=1, max_size=20),
    small=st.floats(0.0, 45.0),
    seed=st.integers(0, 99),
)
def test_what_is_restorable_is_given_back_to_the_bit(before: list[float], small: float, seed: int) -> None:
    """The fault: a weight that became -0.0, or next to nothing, was another one once base and difference were added."""
    base = torch.tensor([*before, -0.0, 0.0], dtype=torch.float32)
    draw = torch.randn(len(base), generator=torch.Generator().manual_seed(seed))
    for wanted in (draw * 10.0**-small, -0.0 * draw, base.clone()):
        after = restorable(base, wanted)
        again = restored(base, after.double() - base.double())
        assert torch.equal(again.view(torch.int32), after.view(torch.int32))
        assert bool(((after - wanted).abs() <= 2.0**-24 * base.abs()).all())
