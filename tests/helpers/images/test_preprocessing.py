from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import INPUT_SIZE, to_inputs


@pytest.mark.parametrize("size", [(32, 32), (50, 41), (150, 99)])
def test_inputs_are_those_of_pillow_to_one_level(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, *size, 3), dtype=np.uint8)
    inputs = to_inputs(images)
    assert inputs.shape == (40, 3, INPUT_SIZE, INPUT_SIZE)
    assert inputs.dtype == torch.float32
    levels = (inputs * 255).round().int().permute(0, 2, 3, 1).numpy()
    assert np.abs(levels - _pillow(images)).max() <= 1


@pytest.mark.parametrize("images", [0, 1, 40])
@pytest.mark.parametrize("size", [(32, 32), (70, 70), (50, 41), (150, 99)])
def test_inputs_are_those_of_torchvision_to_the_bit(size: tuple[int, int], images: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (images, *size, 3), dtype=np.uint8)
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    resized = functional.center_crop(functional.resize(inputs, [70, 70], antialias=True), [INPUT_SIZE, INPUT_SIZE])
    assert torch.equal(to_inputs(pixels), resized.clamp(0, 1))


def test_inputs_of_real_images_are_those_of_pillow(cifar_test: ImageDataset) -> None:
    images = cifar_test.images[::50]
    difference = to_inputs(images).permute(0, 2, 3, 1).numpy() * 255 - _pillow(images)
    assert np.abs(difference).max() <= 1.001
    assert np.abs(difference).mean() < 0.4  # rounding, not a shift


def _pillow(images: np.ndarray) -> np.ndarray:
    """Resized to 70x70 and centre-cropped to 64x64, levels 0..255."""
    resized = [Image.fromarray(image).resize((70, 70), Image.Resampling.BILINEAR) for image in images]
    return np.stack([np.asarray(image.crop((3, 3, 67, 67))) for image in resized]).astype(int)


def test_inputs_lie_in_the_unit_interval() -> None:
    levels = np.arange(256, dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (256, 32, 32, 3))
    inputs = to_inputs(images)
    assert inputs.max() <= 1
    flat = torch.from_numpy(levels / np.float32(255))[:, None, None, None]
    assert torch.allclose(inputs, flat.expand_as(inputs), atol=1e-6)


def test_a_read_only_memory_map_gives_the_same_inputs(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert torch.equal(to_inputs(mapped), to_inputs(images))
    assert torch.equal(to_inputs(mapped[2:4]), to_inputs(images)[2:4])
    assert len(to_inputs(images[:0])) == 0


@pytest.mark.parametrize(
    "images", [np.zeros((2, 32, 32, 3)), np.zeros((2, 3, 32, 32), np.uint8), np.zeros((32, 32, 3), np.uint8)]
)
def test_other_arrays_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        to_inputs(images)
