"""Small matrices have one thread, large ones those that there were, and afterwards everything is as before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

import sytorch
from sytorch.numerics.threads import SMALL, threads_for


def counts() -> set[int]:
    return {library["num_threads"] for library in threadpool_info()} | {torch.get_num_threads()}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with threadpool_limits(2):
        yield


def test_what_is_small_has_one_thread_and_what_is_large_inside_of_it_those_before() -> None:
    with threads_for(SMALL):
        assert counts() == {1}
        with threads_for(SMALL + 1):
            assert counts() == {2}
            with threads_for(3):
                assert counts() == {1}
            assert counts() == {2}
        assert counts() == {1}
        with threads_for(3):
            assert counts() == {1}
    with threads_for(SMALL + 1):
        assert counts() == {2}
    assert counts() == {2}


def test_an_error_leaves_what_was_before() -> None:
    with pytest.raises(ValueError, match="some"), threads_for(1):
        raise ValueError("some")
    assert counts() == {2}


class Watching(nn.Module):
    """Gives GELUs, and keeps by how many threads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[set[int]] = []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        self.seen.append(counts())
        return nn.functional.gelu(values)


@pytest.mark.parametrize(("width", "threads"), [(6, 1), (SMALL + 1, 2)])
def test_a_small_network_is_repaired_by_one_thread(width: int, threads: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, width), Watching(), nn.Linear(width, 3)).eval()
    points = torch.randn(2, 6)
    labels = network(points).topk(2).indices[:, 1]
    repaired = sytorch.repair(network, points, labels, ordinary=torch.randn(20, 6))
    watching = repaired.model.get_submodule("1")
    assert isinstance(watching, Watching) and watching.seen[-1] == {threads}
    assert counts() == {2}
