"""The tensors of a TorchScript file, read without its code.

`torch.jit.load` compiles and may run what a file holds (``__setstate__`` is code of the file). The weights are needed
alone: they lie in the archive as a pickle of plain objects, whose classes are only names here.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
LISTS = "torch.jit._pickle"


def is_torchscript(path: Path) -> bool:
    """Whether a file is a zip archive of ``torch.jit.save``; False where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error):
        return False


def torchscript_tensors(path: Path) -> dict[str, Tensor]:
    """Parameters, buffers and other tensors by their dotted names, as ``state_dict`` names them; none of a frozen file.

    Raises:
        pickle.UnpicklingError: the archive holds something other than a module.
        Exception: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        (data,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(data) as stream:
            module = _Reader(stream, archive, data.removesuffix("/data.pkl")).load()
    if not isinstance(module, _Module):
        raise pickle.UnpicklingError("no module")
    return dict(_tensors(module, "", ()))


class _Module:
    """Stands for an object of any class of the file."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Makes tensors, lists and `_Module`; refuses everything else."""

    def __init__(self, stream: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(stream)
        self._archive, self._folder = archive, folder
        self._module = type("Module", (_Module,), {})  # what a file does to its class ends with the reading

    def find_class(self, module: str, name: str) -> Any:
        """What a name of the file means here."""
        if module.startswith("__torch__"):
            return self._module
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == LISTS and (name.startswith("build_") or name == "restore_type_tag"):
            return self._same
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        """The whole storage of a tensor, one-dimensional."""
        _, dtype, key, _device, count = pid
        raw = bytearray(self._archive.read(f"{self._folder}/data/{key}"))
        storage = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        if len(storage) != count:
            raise pickle.UnpicklingError(f"storage {key}")
        return storage

    def _tensor(self, storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
        return storage.as_strided(size, stride, offset)

    def _same(self, value: Any, *_: Any) -> Any:
        return value


def _tensors(module: _Module, prefix: str, above: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.state.items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module) and id(value) not in above:
            yield from _tensors(value, f"{prefix}{name}.", (*above, id(module), id(value)))
