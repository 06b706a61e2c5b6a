"""The page about edit sets: what its ten lines write is what the product reads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from editset_helpers.class_order import in_order_of
from editset_helpers.edit_set import load_edit_set
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import to_inputs
from tests.conftest import CHECKOUT

TEXT = (CHECKOUT / "docs/edit_sets.md").read_text()
CLASSES = ("dog", "cat", "airplane", "automobile", "bird", "deer", "frog", "horse", "ship", "truck")


@pytest.mark.usefixtures("workplace")
def test_what_the_ten_lines_write_is_read() -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) <= 10
    made: dict[str, object] = {}
    exec(lines, made)
    path = Path("mine_edit_dataset.pt")
    edit_set = load_edit_set(path)
    assert torch.equal(edit_set.images, to_inputs(np.asarray(made["pixels"])))
    noise = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    test = ImageDataset("x", "test", noise, np.zeros(1, dtype=np.int64), CLASSES, "0" * 64)
    ordered, note = in_order_of(edit_set, test, path)
    assert ordered.labels.tolist() == [1, 0] and note is not None and "mapped by name" in note
