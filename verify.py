"""Check repairs against their certificates, with none of the code that made them: torch and numpy alone.

What is said of files is checked in float32, as the network runs; the proof in float64, from what the changed layer gets
on. "The certificate" in ARCHITECTURE.md has the inequalities. Exit code 0: all that is claimed was checked, and holds.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import sys
import zipfile
import zlib
from pathlib import Path

UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, csv.Error, zipfile.BadZipFile, zlib.error)


def paths_of(path: Path) -> list[Path]:
    """The certificates that a path names: itself, or those of a sweep's repairs, beside its table or from here."""
    with contextlib.suppress(*UNREADABLE), path.open(encoding="utf-8-sig", newline="") as stream:
        made = csv.DictReader(stream if path.suffix == ".csv" else "")
        rows = [row for row in made if row.get("certificate_path") or row.get("status") == "repaired"]
        named = [Path(row["certificate_path"] or f"no certificate of {row['experiment_id']}") for row in rows]
        return [found if found.is_file() else path.parent / found for found in named] or [path]
    return [path]


def main() -> int:
    """Read the command line, check, tell; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="CERTIFICATE", help="or the table of a sweep, *.csv")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments, told = parser.parse_args(), []
    from checker.chain import certificate_of

    for path in [found for named in arguments.paths for found in paths_of(named)]:
        lines, good = [("FAILS", "certificate", "none can be read: give *_certificate.npz or a sweep's table")], False
        with contextlib.suppress(*UNREADABLE):
            lines, good = (checked := certificate_of(path).check()).lines, checked.accepted
        told.append({"certificate": str(path), "accepted": good, "lines": lines})
        if not arguments.json:
            print(path, *(f"  {state:<11} {name}: {seen}" for state, name, seen in lines), sep="\n")
            wrong = [f"{state}: {name}" for state, name, _ in lines if state != "ok"]
            print("accepted" if good else f"not accepted ({', '.join(wrong)})")
    if arguments.json:
        print(json.dumps(told, indent=2))
    return 0 if told and all(one["accepted"] for one in told) else 1


if __name__ == "__main__":
    sys.exit(main())
