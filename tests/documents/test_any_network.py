"""The page about other networks: its code runs as it stands."""

from __future__ import annotations

import re

from tests.conftest import CHECKOUT


def test_the_pages_code_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs/any_network.md").read_text(), re.DOTALL)
    assert len(blocks) == 7
    exec("\n".join(blocks), {})
