"""Which weights change: a layer's, some of its units', or the bias alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sytorch.problem.errors import UnsupportedLayerError


@dataclass(frozen=True)
class Part:
    """Which weights of a layer change.

    Attributes:
        layer: its name.
        units: the outputs whose weights change, ``(start, stop)``; None for all.
        bias_only: whether only the bias changes.
    """

    layer: str
    units: tuple[int, int] | None = None
    bias_only: bool = False


def part_named(text: str) -> Part:
    """Read ``classifier.4``, ``classifier.4.bias``, ``classifier.4[0:400]`` or ``classifier.4[0:400].bias``.

    Raises:
        UnsupportedLayerError: the brackets do not hold a range.
    """
    found = re.fullmatch(r"([^\[\]]*?)(?:\[(\d+):(\d+)\])?(\.bias)?", text)
    if not found or not found[1] or (found[2] and int(found[2]) >= int(found[3])):
        raise UnsupportedLayerError(f"{text!r} names no layer; write a name, NAME.bias or NAME[first:last].")
    return Part(found[1], (int(found[2]), int(found[3])) if found[2] else None, bool(found[4]))
