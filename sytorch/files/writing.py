"""A file is written beside its place, then renamed: whole or not there. What it gets is looked at before."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import nn

from sytorch.problem.errors import FileError


def replace_file(path: Path, content: bytes) -> None:
    """Put bytes into a file; a link stays one. Raises `FileError` where that fails, and what was there stays."""
    target = path.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(handle)
            mask = os.umask(0)
            os.umask(mask)
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~mask
            Path(name).chmod(mode)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}.") from error


def read_file(path: Path) -> bytes:
    """The bytes of a file; raises `FileError` where there is none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error


def checked_state(model: nn.Module, before: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """A module's tensors, for a file that has others; raises `FileError` unless names, shapes and types are its."""
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    if differing := sorted(state.keys() ^ before.keys()):
        raise FileError(f"The module is not that of {path}: only one of them has {differing[0]!r}.")
    for name, tensor in state.items():
        if tensor.shape != before[name].shape or tensor.dtype != before[name].dtype:
            found, there = (f"{tuple(kind.shape)} in {kind.dtype}" for kind in (tensor, before[name]))
            raise FileError(f"The module is not that of {path}: {name!r} is {found}, and there {there}.")
        if not torch.isfinite(tensor).all():
            raise FileError(f"{name!r} holds NaN or infinity, so {path} was not written again.")
    return state
