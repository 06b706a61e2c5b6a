"""Plain text for the screen: tables, and text that comes from outside."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two blanks apart: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def described(rows: Sequence[tuple[str, str]]) -> str:
    """Names and what is said of them, both to the left."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return "  ".join(cells).rstrip()


def percent(fraction: float | None) -> str:
    """``0.7473`` -> ``74.73 %``; None -> ``-``."""
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def printable(text: str) -> str:
    """A name or a command as any file or screen can hold it: bytes that are no UTF-8, and no signs, become escapes."""
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode()
