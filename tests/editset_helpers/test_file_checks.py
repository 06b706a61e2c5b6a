"""Edit sets of others: tensors of every sort, numbers of every sort, and damage."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from editset_helpers.edit_set import load_edit_set, save_edit_set
from editset_helpers.file_checks import as_records
from helpers.errors import ToolError
from helpers.files.writing import read_json

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2])


def written(path: Path, images: Any = IMAGES, labels: Any = LABELS, metadata: Any = None) -> Path:
    torch.save({"images": images, "labels": labels, "metadata": metadata}, path)
    return path


@pytest.mark.parametrize(
    ("stored", "tolerance"),
    [
        (lambda: IMAGES.clone().requires_grad_(), 0),
        (lambda: nn.Parameter(IMAGES), 0),
        (lambda: IMAGES.to(memory_format=torch.channels_last), 0),
        (lambda: IMAGES.flip(-1).flip(-1).transpose(2, 3).contiguous().transpose(2, 3), 0),
        (lambda: IMAGES.double().requires_grad_(), 0),
        (IMAGES.to_sparse, 0),
        (IMAGES.half, 1e-3),
        (IMAGES.bfloat16, 1e-2),
        (lambda: (255 * IMAGES).round().to(torch.uint8), 1e-2),
    ],
)
def test_images_however_they_lie(tmp_path: Path, stored: Callable[[], Tensor], tolerance: float) -> None:
    loaded = load_edit_set(written(tmp_path / "set.pt", stored()))
    assert loaded.images.dtype is torch.float32
    assert loaded.images.is_contiguous()
    assert not loaded.images.requires_grad
    assert (loaded.images - IMAGES).abs().max() <= tolerance
    save_edit_set(loaded, tmp_path / "again.pt")
    assert load_edit_set(tmp_path / "again.pt").content_hash == loaded.content_hash


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(3, 3, 64, 64, device="meta"), LABELS, "images .* without entries in memory"),
        (IMAGES.to(torch.complex64), LABELS, "images .* not complex64"),
        (IMAGES > 0.5, LABELS, "images .* not bool"),
        (IMAGES.numpy(), LABELS, "images .* not ndarray"),
        (IMAGES * 1e300, LABELS, "NaN or infinite"),
        (IMAGES, LABELS.to("meta"), "labels .* without entries in memory"),
        (IMAGES, LABELS.bool(), "labels .* not bool"),
        (IMAGES, torch.tensor([0, 1, 2**63 - 1], dtype=torch.uint64), "labels .* 0 to 9"),
        (IMAGES, [0, 1, 2], "labels .* not list"),
    ],
)
def test_what_is_no_image_or_label_is_refused(tmp_path: Path, images: Any, labels: Any, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        load_edit_set(written(tmp_path / "set.pt", images, labels))


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (7, 7),
        (7.0, 7),
        (np.int64(7), 7),
        (np.uint8(7), 7),
        (np.float32(7), 7),
        (torch.tensor(7), 7),
        (2**63 - 1, 2**63 - 1),
        (10**30, None),
        (float("1e30"), None),
        (-1, None),
        (7.5, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        ("7", None),
        (None, None),
        ([7], None),
        (torch.zeros(1, device="meta"), None),
    ],
)
def test_numbers_of_images(tmp_path: Path, index: Any, expected: int | None) -> None:
    rows = [{"image_idx": index}, {"image_idx": 3}, {"image_idx": 4}]
    loaded = load_edit_set(written(tmp_path / "set.pt", metadata=rows))
    assert loaded.metadata[0].get("image_idx") == expected
    found = loaded.test_indices()
    assert (None if found is None else found.tolist()) == (None if expected is None else [expected, 3, 4])


def test_columns_of_numpy_and_torch(tmp_path: Path) -> None:
    columns = {"image_idx": np.array([5, 6, 7]), "margin": torch.tensor([0.5, 1.5, 2.5]), "type": "misclassified"}
    loaded = load_edit_set(written(tmp_path / "set.pt", metadata=columns))
    assert json.loads(json.dumps(loaded.metadata))[1] == {"image_idx": 6, "margin": 1.5, "type": "misclassified"}


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(),
        lambda x: st.lists(x) | st.dictionaries(st.text() | st.integers(), x),
    )
)
def test_any_metadata_is_read_or_refused(metadata: Any) -> None:
    try:
        records = as_records(metadata, 2, Path("set.pt"))
    except ToolError:
        return
    assert len(records) == 2


def _whole_file() -> bytes:
    stream = io.BytesIO()
    torch.save({"images": IMAGES, "labels": LABELS, "metadata": [{"image_idx": n} for n in range(3)]}, stream)
    return stream.getvalue()


WHOLE = _whole_file()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_told_or_does_no_harm(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(WHOLE)
    places = st.integers(0, len(WHOLE) - 1) | st.integers(0, 1500) | st.integers(len(WHOLE) - 1500, len(WHOLE) - 1)
    for position in data.draw(st.lists(places, min_size=1, max_size=3)):
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "set.pt").write_bytes(content[: data.draw(st.just(len(WHOLE)) | places)])
    try:
        loaded = load_edit_set(tmp_path / "set.pt")
    except ToolError as error:
        assert "\n" not in str(error)
    else:
        assert torch.equal(loaded.images, IMAGES)
        assert torch.equal(loaded.labels, LABELS)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary() | st.text().map(str.encode) | st.integers(1, 10**5).map(lambda depth: b"[" * depth))
def test_json_of_any_bytes_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "facts.json").write_bytes(content)
    try:
        read_json(tmp_path / "facts.json")
    except ToolError as error:
        assert "\n" not in str(error)
