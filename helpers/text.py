"""Text that comes from outside."""

from __future__ import annotations


def printable(text: str) -> str:
    """A name or a command as any file or screen can hold it: bytes that are no UTF-8, and no signs, become escapes."""
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode()
