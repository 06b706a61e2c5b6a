"""What AlexNet makes of images, and what its files hold, for the checker: written anew, with torch alone.

Nothing here is shared with the code that makes repairs; see `verify`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]
CHANGES, ROWS = "alexnet-repair changes ", ":rows"
NAME = re.compile(r"(?:^|\.)(features|classifier|0|3)(?:\.module)?\.(\d+)\.(weight|bias)$")
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.half, "BF16": torch.bfloat16, "I64": torch.int64}
NEAR = 3 / 255  # pixels that were resized in another way
LAYERS: dict[str, tuple[Any, ...]] = {  # AlexNet: stride and padding; window and stride; side of an average
    "features.0": ("conv", 4, 2), "features.1": ("relu",), "features.2": ("pool", 3, 2), "features.3": ("conv", 1, 2),
    "features.4": ("relu",), "features.5": ("pool", 3, 2), "features.6": ("conv", 1, 1), "features.7": ("relu",),
    "features.8": ("conv", 1, 1), "features.9": ("relu",), "features.10": ("conv", 1, 1), "features.11": ("relu",),
    "features.12": ("pool", 3, 2), "avgpool": ("mean", 6), "classifier.1": ("linear",), "classifier.2": ("relu",),
    "classifier.4": ("linear",), "classifier.5": ("relu",), "classifier.6": ("linear",),
}  # fmt: skip


class RefusedError(Exception):
    """A claim does not hold."""


def need(holds: bool, otherwise: str) -> None:
    """Refuse unless a claim holds, which NaN never does."""
    if not holds:
        raise RefusedError(otherwise)


def run(weights: Weights, values: Tensor, fixed: Mapping[str, Tensor], start: str = "features.0") -> Weights:
    """What layers get from ``start`` on, by name, and the ``logits``; fixed patterns make affine functions of them."""
    seen = {}
    for name, (kind, *sizes) in list(LAYERS.items())[list(LAYERS).index(start) :]:
        keys, seen[name] = (f"{name}.weight", f"{name}.bias"), values
        both: Any = [weights[key].to(values.dtype) for key in keys if key in weights]
        if kind == "conv":
            values = functional.conv2d(values, *both, *sizes)
        elif kind == "linear":
            values = functional.linear(values.flatten(1), *both)
        elif kind == "mean":
            values = functional.adaptive_avg_pool2d(values, sizes[0])
        elif kind == "relu":
            values = values * fixed[name].view_as(values) if name in fixed else values.relu()
        elif name in fixed:
            side = (values.shape[-1] - sizes[0]) // sizes[1] + 1
            values = values.flatten(2).gather(2, fixed[name]).view(*values.shape[:2], side, side)
        else:
            values = functional.max_pool2d(values, *sizes)
    return seen | {"logits": values}


def slack(name: str, values: Tensor, pattern: Tensor) -> Tensor:
    """How far a ReLU or pool is from leaving its pattern: of each unit; or of each channel, window's member, window."""
    if LAYERS[name][0] == "relu":
        return torch.where(pattern.flatten(1), values.flatten(1), -values.flatten(1))
    places = torch.arange(values[0, 0].numel(), dtype=torch.float64).view(1, 1, *values.shape[2:])
    members = functional.unfold(places, LAYERS[name][1], stride=LAYERS[name][2])[0].long()
    return (values.flatten(2).gather(2, pattern)[:, :, None] - values.flatten(2)[:, :, members]).flatten(1)


def read_weights(path: Path, base: Weights, base_hash: str = "", place: Path | None = None) -> Weights:
    """The float32 tensors of a state dict, of safetensors, of TorchScript, or of changes of the base or a file."""
    with path.open("rb") as stream:
        start = stream.read(9)
    if start[8:] == b"{" and not start.startswith(b"PK"):
        content: Any = read_safetensors(path.read_bytes())
    elif zipfile.is_zipfile(path) and any(name.endswith("constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        content = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    else:
        content = torch.load(path, map_location="cpu", weights_only=True)
    if str(content.get("format")).startswith(CHANGES):
        if content["base_hash"] != base_hash:
            base, found = read_base((place or path.parent) / content["base"])
            need(found == content["base_hash"], f"{content['base']} holds other weights than {path.name} changes")
        changed, moved = dict(base), content["changes"]
        for name in [name for name in moved if not name.endswith(ROWS)]:
            rows, change = moved.get(name + ROWS, torch.arange(len(base[name]))), moved[name].double()
            old = base[name][rows]
            changed[name] = base[name].index_copy(0, rows, torch.where(change == 0, old, (old + change).float()))
        return changed
    need(len(networks := _networks(content)) == 1, f"{path.name} holds {len(networks)} networks")
    named = [(NAME.search(str(name)), value) for name, value in networks[0].items()]
    group = {"0": "features", "3": "classifier"}
    pairs = [(f"{group.get(at[1], at[1])}.{at[2]}.{at[3]}", value.float()) for at, value in named if at]
    need(len(weights := dict(pairs)) == len(pairs), f"{path.name} names weights twice")
    return weights


def _networks(content: Mapping[Any, Any]) -> list[Mapping[Any, Any]]:
    """Every mapping in a file that names weights: of two, nobody could say which one is meant."""
    own = any(isinstance(value, Tensor) and NAME.search(str(name)) for name, value in content.items())
    return [content] * own + [
        found for part in content.values() if isinstance(part, Mapping) for found in _networks(part)
    ]


def read_safetensors(data: bytes) -> dict[str, Any]:
    """That format: the length of a JSON header, the header, the tensors' bytes; changes have texts in the header."""
    start, tensors = 8 + int.from_bytes(data[:8], "little"), {}
    beside = (said := json.loads(data[8:start])).pop("__metadata__", {})
    for name, told in said.items():
        part = bytearray(data[start + told["data_offsets"][0] : start + told["data_offsets"][1]])
        tensors[name] = torch.frombuffer(part, dtype=TYPES[told["dtype"]]).view(told["shape"])
    entry = beside.get("alexnet-repair.entry")
    return {**json.loads(beside.get("alexnet-repair.texts", "{}")), entry: tensors} if entry else tensors


def read_base(path: Path) -> tuple[Weights, str]:
    """The weights of a file, and their hash; the last two are remembered, for a sweep has one base for all."""
    facts = path.stat()
    return _read_base(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=2)
def _read_base(path: Path, _time: int, _size: int) -> tuple[Weights, str]:
    weights = read_weights(path, {})
    return weights, hash_of(weights)


def hash_of(weights: Weights) -> str:
    """SHA-256 of names, shapes and float32 values in the order of the names."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {list(value.shape)}\n".encode())
        digest.update(value.contiguous().numpy().data)
    return digest.hexdigest()


def to_inputs(pixels: Tensor, made: Mapping[str, Any]) -> Tensor:
    """Images of bytes, (N, S, S, 3), as the network gets them: usually 32 x 32 resized to 70, the middle 64."""
    values, size, side = pixels.permute(0, 3, 1, 2).float().div(255), made.get("resize", 70), made.get("input_size", 64)
    if made.get("squeezed", True):
        middle = slice(edge := round((size - side) / 2), edge + side)
        values = functional.interpolate(values, size, mode="bilinear", antialias=True)[..., middle, middle].clamp(0, 1)
    mean, std = (torch.tensor(made.get(name, [usual] * 3)) for name, usual in (("mean", 0.0), ("std", 1.0)))
    return (values - mean[:, None, None]) / std[:, None, None]


def copies_of(images: Tensor, pixels: Tensor, said: Mapping[str, Any], made: Mapping[str, Any]) -> list[Tensor]:
    """Mirrored copies, and those shifted by up to so many of the 32 x 32 pixels, the edge repeated."""
    shifts, flip = said["shifts"], said["flip"]
    if not shifts:
        return [images.flip(-1)] * flip
    need(float((to_inputs(pixels, made) - images).abs().max()) <= NEAR, "the pixels are not those of the edit images")
    reach, at, last, copies = range(-shifts, shifts + 1), torch.arange(pixels.shape[1]), pixels.shape[1] - 1, []
    for mirrored, down, right in [(m, d, r) for m in range(1 + flip) for d in reach for r in reach if m or d or r]:
        seen = pixels.flip(2) if mirrored else pixels
        copies.append(to_inputs(seen[:, (at - down).clamp(0, last)][:, :, (at - right).clamp(0, last)], made))
    return copies
