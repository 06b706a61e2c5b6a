"""Which training images are nearest to an edit image, on channels made up here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch

from edits.network.channels import CACHE_BYTES, Channels
from edits.network.workbench import Workbench
from edits.outcome.likeness import COUNT, MOST_CHANNELS, nearest_training_images
from editset_helpers.edit_set import EditSet
from helpers.remembering import Rows


def bench(file: Path, there: torch.Tensor, shape: tuple[int, ...]) -> Workbench:
    """A workbench whose training images have these channels, and whose network gives the first numbers of an image."""
    made_up = {
        "file": lambda _, mirrored: file,
        "shape": shape,
        "all": lambda _, mirrored: there.numpy(),
        "_rows": Rows(lambda images: images.flatten(1)[:, : there.shape[1]], CACHE_BYTES),
    }
    channels = type("MadeUp", (Channels,), made_up)(*[None] * 3)
    return cast(Workbench, SimpleNamespace(training_images=SimpleNamespace(channels=channels)))


def edit_set(count: int, training_idx: int | None = None) -> EditSet:
    images = torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    facts = [{} if training_idx is None else {"training_idx": training_idx} for _ in range(count)]
    return EditSet(images, torch.zeros(count, dtype=torch.int64), facts)


def test_the_nearest_come_first_and_none_is_itself(tmp_path: Path) -> None:
    there = torch.rand(400, 7, generator=torch.Generator().manual_seed(1))
    (tmp_path / "channels").touch()
    mine = edit_set(300)
    found = nearest_training_images(bench(tmp_path / "channels", there, (7, 1, 1)), mine)
    distances = torch.cdist(mine.images.flatten(1)[:, :7].double(), there.double())
    assert found.shape == (300, COUNT)
    assert np.array_equal(found, distances.argsort(dim=1)[:, :COUNT].numpy())
    first = int(found[4, 0])
    again = nearest_training_images(bench(tmp_path / "channels", there, (7, 1, 1)), edit_set(5, training_idx=first))
    assert first not in again[4]


def test_nothing_is_computed_for_it(tmp_path: Path) -> None:
    """Where the channels of training images are not there, or are large."""
    there = torch.zeros(9, 7)
    assert nearest_training_images(bench(tmp_path / "none", there, (7, 1, 1)), edit_set(3)).shape == (3, 0)
    (tmp_path / "large").touch()
    large = bench(tmp_path / "large", there, (MOST_CHANNELS + 1, 1, 1))
    assert nearest_training_images(large, edit_set(3)).shape == (3, 0)
