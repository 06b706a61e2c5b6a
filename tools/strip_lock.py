"""Make uv.lock free of addresses: it then says which versions, and the reader's own index says where they are.

Every registry becomes ".", and the files of a package (`sdist`, `wheels`: addresses and hashes) and the root package's
copy of its requirements go. uv finds such a lock out of date on first use, resolves again from the index it is
configured with, keeps the locked versions, and fills the file in. So the last command before a commit is

    uv run python tools/strip_lock.py

and a check must not be run through `uv run`, which would fill the file in first: `python tools/strip_lock.py --check`.
For the same reason there is nothing here but the standard library.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

LOCK = Path("uv.lock")
REGISTRY = re.compile(r'registry = "[^"]*"')
UNWANTED = (
    re.compile(r"^sdist = \{.*\}\n", re.MULTILINE),
    re.compile(r"^wheels = \[\n(?: +.*\n)*\]\n", re.MULTILINE),
    re.compile(r"^\[package\.metadata(?:\.[^\]\n]*)?\]\n(?:(?!\[).*\n)*", re.MULTILINE),
)


def strip(lock: str) -> str:
    """The text of a lock without addresses; stripping it again changes nothing.

    Raises:
        ValueError: an address is left, as of a package from a repository or a URL.
    """
    for unwanted in UNWANTED:
        lock = unwanted.sub("", lock)
    stripped = REGISTRY.sub('registry = "."', lock)
    for line in stripped.splitlines():
        if "://" in line:
            raise ValueError(f"an address would be left: {line.strip()}")
    return stripped


def strip_file(path: Path, check: bool) -> str | None:
    """Strip a lock in place, or with ``check`` only look at it. The complaint is returned, None where all is well."""
    try:
        content = path.read_text(encoding="utf-8")
        stripped = strip(content)
        if check:
            return None if content == stripped else f"{path} has addresses: run tools/strip_lock.py"
        temporary = path.with_name(f".{path.name}.stripped")
        temporary.write_text(stripped, encoding="utf-8")
        temporary.replace(path)
    except (OSError, ValueError) as error:
        return f"{path} was left as it is: {error}"
    return None


def main() -> None:
    """Read the command line; exit code 1 with a sentence where something is wrong."""
    parser = argparse.ArgumentParser(description="Make uv.lock free of addresses, in place.")
    parser.add_argument("--check", action="store_true", help="only look: exit code 1 if there are addresses")
    sys.exit(strip_file(LOCK, parser.parse_args().check))


if __name__ == "__main__":
    main()
