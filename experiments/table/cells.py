"""What the cells of result tables say: numbers, and true and false in the languages of spreadsheets."""

from __future__ import annotations

import math
import re

# Spellings of true and false. Spreadsheets write booleans in their user's language.
FLAGS = (
    ("True", "False"),
    ("1", "0"),
    ("yes", "no"),
    ("wahr", "falsch"),
    ("ja", "nein"),
    ("vrai", "faux"),
    ("oui", "non"),
    ("verdadero", "falso"),
    ("verdadeiro", "falso"),
    ("vero", "falso"),
    ("waar", "onwaar"),
    ("sant", "falskt"),
    ("sand", "falsk"),
    ("prawda", "fałsz"),
    ("istina", "laž"),
    ("истина", "ложь"),
    ("1.0", "0.0"),
    ("1,0", "0,0"),
    ("t", "f"),
    ("y", "n"),
)
TRUE, FALSE = ({pair[side].casefold() for pair in FLAGS} for side in (0, 1))
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
MISSING = {"", "nan", "inf", "-inf", "+inf"}


def flag(text: str) -> bool:
    """Whether a cell says true; an empty one does not.

    Raises:
        ValueError: it says neither; the message is the end of a sentence.
    """
    word = text.strip().casefold()
    if word in TRUE:
        return True
    if word in FALSE or not word:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def number(text: str, decimal: str = ".") -> float | None:
    """The number in a cell; None where there is none, or none that is finite.

    Args:
        text: the cell.
        decimal: the table's decimal separator, a point or a comma; thousands are not separated.

    Raises:
        ValueError: it is no number; the message is the end of a sentence.
    """
    word = text.strip()
    if word.lower() in MISSING:
        return None
    other = "," if decimal == "." else "."
    if other in word or not NUMBER.fullmatch(word):
        raise ValueError(f"{text!r} is no number with a decimal {'point' if decimal == '.' else 'comma'}")
    value = float(word.replace(decimal, "."))
    return value if math.isfinite(value) else None


def spelling_of_flags(text: str) -> tuple[str, str]:
    """How true and false are spelled where one of them is spelled so: ``FALSCH`` -> ``("WAHR", "FALSCH")``."""
    word = text.strip()
    pair = next((pair for pair in FLAGS if word.casefold() in {side.casefold() for side in pair}), FLAGS[0])
    if word.isupper():
        return pair[0].upper(), pair[1].upper()
    if word.islower():
        return pair[0].lower(), pair[1].lower()
    return pair[0].capitalize(), pair[1].capitalize()
