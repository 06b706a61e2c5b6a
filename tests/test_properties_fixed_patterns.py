"""Random programs with fixed activation patterns: each is solved, or refuted, as programs written out whole say.

The long form is ``python -m tests.properties --kind fixed-pattern --count 500``.
"""

from __future__ import annotations

from tests.properties import kind_named, tally


def test_every_answer_is_right_and_nearly_every_program_has_one() -> None:
    said: list[str] = []
    found = tally(kind_named("fixed-pattern"), 40, tell=said.append)
    assert not found["wrong"], "\n".join(said)
    assert found["unknown"] <= 1, "\n".join(said)
    assert found["solved"] >= 10 and found["refuted"] >= 5
