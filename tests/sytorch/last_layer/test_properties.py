"""Random programs of a last layer against independent ones: solved or refuted as scipy says, seldom neither.

The long form is ``python -m tests.properties --kind last-layer --count 2000``.
"""

from __future__ import annotations

from tests.properties import kind_named, tally


def test_random_programs_have_the_answers_of_independent_ones() -> None:
    told: list[str] = []
    found = tally(kind_named("last-layer"), 30, seed=3, tell=told.append)
    assert not found["wrong"], told
    assert found["unknown"] <= 2, told
    assert found["solved"] >= 8 and found["refuted"] >= 8
