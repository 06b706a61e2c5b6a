"""Windows of convolutions and pools, as ONNX says them and as torch does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from sytorch.files.onnx_graph import Step

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]  # left, right, top, bottom


@dataclass(frozen=True)
class Window:
    """Of rows and columns: the size, the step, the distance of its members, and the zeros before and behind the map."""

    size: Pair
    stride: Pair
    dilation: Pair
    padding: Pair


def padded_sides(step: Step, kernel: Sequence[int]) -> tuple[Window, Sides | None]:
    """A window, and zeros that have to be put around the map before where one side gets more than the other.

    Args:
        step: a convolution or a pool.
        kernel: (height, width).

    Raises:
        FileError: it is not two-dimensional, or padded in a way that is not known.
    """
    if len(kernel) != 2 or len(step.sizes) != 4:
        raise step.refuse("is not two-dimensional")
    stride, dilation = (_pair(step, name) for name in ("strides", "dilations"))
    before, behind = _padding(step, kernel, stride, dilation)
    size = (int(kernel[0]), int(kernel[1]))
    if before == behind:
        return Window(size, stride, dilation, before), None
    return Window(size, stride, dilation, (0, 0)), (before[1], behind[1], before[0], behind[0])


def _pair(step: Step, name: str) -> Pair:
    first, second = step.attributes.get(name, (1, 1))
    return int(first), int(second)


def _padding(step: Step, kernel: Sequence[int], stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    how = step.attributes.get("auto_pad", "NOTSET")
    if how in ("NOTSET", "VALID"):
        pads = step.attributes.get("pads", (0, 0, 0, 0)) if how == "NOTSET" else (0, 0, 0, 0)
        return (int(pads[0]), int(pads[1])), (int(pads[2]), int(pads[3]))
    if how not in ("SAME_UPPER", "SAME_LOWER"):
        raise step.refuse(f"is padded by a rule that is not known, {how}")
    pairs = []
    for size, long, by, apart in zip(step.sizes[2:], kernel, stride, dilation, strict=True):
        assert size is not None
        missing = (-(-size // by) - 1) * by + (long - 1) * apart + 1 - size
        if step.op == "MaxPool" and (missing < 0 or apart != 1):
            raise step.refuse(f"is padded as {how} with gaps between windows, or in them, which others read otherwise")
        missing = max(missing, 0)
        less, more = missing // 2, missing - missing // 2
        pairs.append((less, more) if how == "SAME_UPPER" else (more, less))
    return (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])


def max_pool(step: Step) -> nn.Module:
    """A max-pool; raises `FileError` for what torch has none of."""
    window, sides = padded_sides(step, step.attributes["kernel_shape"])
    if sides is not None:
        raise step.refuse("pads one side more than the other, which a max-pool does not do here")
    _check_pool(step, window)
    return nn.MaxPool2d(window.size, window.stride, window.padding, window.dilation)


def average_pool(step: Step) -> list[nn.Module]:
    """A mean pool, zeros put around the map before it where need be; raises `FileError` for what torch has none of."""
    window, sides = padded_sides(step, step.attributes["kernel_shape"])
    counts = bool(step.attributes.get("count_include_pad", 0))
    if sides is not None and not counts:
        raise step.refuse("pads one side more than the other without counting what it adds")
    if window.dilation != (1, 1):
        raise step.refuse("takes means of members that lie apart")
    _check_pool(step, window)
    pool = nn.AvgPool2d(window.size, window.stride, window.padding, count_include_pad=counts)
    return [pool] if sides is None else [nn.ZeroPad2d(sides), pool]


def _check_pool(step: Step, window: Window) -> None:
    if step.attributes.get("ceil_mode", 0):
        raise step.refuse("counts windows that begin on the map and end outside (ceil_mode)")
    if any(2 * zeros > size for zeros, size in zip(window.padding, window.size, strict=True)):
        raise step.refuse("pads more than half of its window")
