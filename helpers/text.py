"""Plain text for the screen: what is printable, and tables, also in Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def printable(text: str) -> str:
    """A name or a command as any file or screen can hold it: bytes that are no UTF-8, and no signs, become escapes."""
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode()


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two blanks apart: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def as_markdown(rows: Sequence[Sequence[str]], right: Collection[int] | None = None) -> str:
    """A table in Markdown; to the right are the columns at some places, or all but the first."""
    places = range(len(rows[0]))
    rules = ["---:" if place in (places[1:] if right is None else right) else "---" for place in places]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in (rows[0], rules, *rows[1:]))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


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
