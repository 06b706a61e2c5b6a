"""Files of weights: torch's, TorchScript's, safetensors'. Reading looks at the content, writing at the suffix."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from helpers.errors import ToolError
from helpers.files.tensors import check_readable, damaged, is_zip, not_plain
from helpers.files.writing import atomic_file, load_tensors
from model_classes.torchscript import is_torchscript, torchscript_tensors

SUFFIX = ".safetensors"
ENTRY, TEXTS, SHA256 = "alexnet-repair.entry", "alexnet-repair.texts", "alexnet-repair.sha256"
HISTORY = "alexnet-repair.history"
LONGEST_HEADER = 100_000_000
HOW_TO_SAVE = (
    " If you trust it, save its weights alone: "
    "torch.save(torch.load('{name}', weights_only=False).state_dict(), 'weights.pth')."
)


def read_content(path: Path, mapped: bool = False) -> Any:
    """What a file of weights holds, on the CPU: a mapping, mostly. No code of the file is run.

    A file of safetensors gives its tensors, or, if `write_weights` put other entries beside them, all of that. For a
    look at which names are there, ``mapped`` leaves torch's tensors on the disk, see `load_tensors`.

    Raises:
        ToolError: the file is missing, empty or damaged, fails its checksums, or holds a whole pickled module.
    """
    check_readable(path, "weights")
    if _is_safetensors(path):
        return _read_safetensors(path)
    if is_torchscript(path):
        return _read_torchscript(path)
    return load_tensors(path, "weights", HOW_TO_SAVE.format(name=path.name), mapped)


def read_history(path: Path) -> str:
    """The text that `write_weights` put beside tensors, which are not read; empty where there is none."""
    check_readable(path, "weights")
    if _is_safetensors(path):
        with path.open("rb") as stream:
            header = stream.read(int.from_bytes(stream.read(8), "little"))
        with contextlib.suppress(ValueError, AttributeError):
            return str(json.loads(header).get("__metadata__", {}).get(HISTORY, ""))
    elif is_zip(path) and not is_torchscript(path):
        with contextlib.suppress(Exception):  # whatever is damaged or no plain file of tensors says nothing
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return str(vars(content)["_metadata"][HISTORY]["json"])
    return ""


def save_weights(content: Mapping[str, Any], path: Path, history: str = "") -> None:
    """`write_weights`, atomically; raises `ToolError` where ``path`` cannot be written."""
    with atomic_file(path) as temporary:
        write_weights(content, temporary, path, history)


def write_weights(content: Mapping[str, Any], file: Path, name: Path | None = None, history: str = "") -> None:
    """Write a state dict, or a file of changes, in the format that a suffix names.

    Args:
        content: tensors by name; for safetensors perhaps one mapping of tensors, and texts, beside them.
        file: where to.
        name: whose suffix counts, if not that of ``file``: ``.safetensors`` is that format, any other ``torch.save``.
        history: a text that goes with the tensors and is none of them, see `read_history`.
    """
    if (name or file).suffix != SUFFIX:
        torch.save(_with_history(content, history) if history else content, file)
        return
    texts = {key: value for key, value in content.items() if isinstance(value, str)}
    inner = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    (key, tensors), *_ = [*inner.items(), ("", content)]
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    beside = {ENTRY: key, TEXTS: json.dumps(texts)} if inner else {}
    beside |= {HISTORY: history} if history else {}
    metadata = {"format": "pt", SHA256: _hash_of(plain), **beside}
    file.write_bytes(safetensors.torch.save(plain, metadata))


def _with_history(content: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    """The text lies where `Module.load_state_dict` looks for no parameters, so that the file stays a state dict."""
    kept = OrderedDict(content)
    vars(kept)["_metadata"] = OrderedDict({HISTORY: {"json": text}})
    return kept


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
        tensors = safetensors.torch.load(content)
        entry, texts = metadata.get(ENTRY), json.loads(metadata.get(TEXTS, "{}"))
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise damaged(path, "weights") from error
    if metadata.get(SHA256, "") not in {"", _hash_of(tensors)}:
        raise damaged(path, "weights")
    return tensors if entry is None else {**texts, entry: tensors}


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    try:
        tensors = torchscript_tensors(path)
    except pickle.UnpicklingError as error:
        raise not_plain(path, "weights", error) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise damaged(path, "weights") from error
    if not tensors:
        raise ToolError(f"The TorchScript file {path} is frozen: its weights have no names. Save the state_dict().")
    return tensors


def _hash_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode(errors="surrogatepass"))
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
