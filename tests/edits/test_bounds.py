"""``--param-bound`` holds for the weights as float32 stores them, whether or not float32 can hold the bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edits.network.applying import apply_changes, moved
from model_classes.changes import TINY

BOUNDS = st.one_of(st.sampled_from([0.05, 0.1, 0.3, 5.0, 1e-3]), st.floats(1e-6, 100.0))
WEIGHTS = st.floats(-100.0, 100.0, width=32)


@settings(max_examples=300, deadline=None)
@given(bound=BOUNDS, weights=st.lists(WEIGHTS, min_size=1, max_size=30), near=st.booleans(), seed=st.integers(0, 99))
def test_no_entry_passes_the_bound(bound: float, weights: list[float], near: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], len(weights)))
    change = signs * bound * (1.0 if near else 2.0)
    before = torch.tensor(weights, dtype=torch.float32)
    before = torch.where(torch.from_numpy(rng.random(len(weights)) < 0.3), (-change).float(), before)  # sums near zero
    for stored in (change, change.float()):
        after = moved(before, stored, bound)
        assert bool(((after.double() - before.double()).abs() <= bound).all())
        exact = before.double() + stored.double().clamp(-bound, bound)
        spacing = torch.from_numpy(np.spacing(after.abs().numpy())).double()
        needed = torch.maximum(1.5 * spacing, TINY * before.double().abs())  # what is next to nothing is zero
        assert bool(((after.double() - exact).abs() <= 1.01 * needed).all()), "it was moved further than rounding needs"


@pytest.mark.parametrize("bound", [0.05, 0.1])
def test_entries_that_stand_at_a_bound_which_float32_cannot_hold(bound: float) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(100_000, 1, bias=False).requires_grad_(False)
    layer.weight.copy_(torch.randn(1, 100_000) * 0.05)
    before = layer.weight.clone()
    change = (torch.where(torch.rand(1, 100_000) > 0.5, 1.0, -1.0).double() * bound).float()
    after = apply_changes(layer, {"weight": change}, bound)["weight"]
    assert float((after.double() - before.double()).abs().max()) <= bound
    assert torch.equal(layer.weight, before)
