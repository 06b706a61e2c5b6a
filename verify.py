"""Check repairs against their certificates, with none of the code that made them: torch and numpy alone.

What is said of files is checked in float32, as the network runs; the proof in float64, from what the changed layer gets
on. "The certificate" in ARCHITECTURE.md has the inequalities. Exit code 0: all that is claimed was checked, and holds.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import signal
import sys
import zipfile
import zlib
from pathlib import Path

UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, csv.Error, zipfile.BadZipFile, zlib.error)


def paths_of(path: Path) -> list[Path]:
    """The certificates that a path names: itself, or those of a sweep's repairs, beside its table or from here."""
    with contextlib.suppress(*UNREADABLE), path.open(encoding="utf-8-sig", newline="") as stream:
        lines = (path.suffix == ".csv" and stream.readlines()) or [""]
        made = csv.DictReader(lines, delimiter=max(",;\t", key=lines[0].count))
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
        print(path, file=sys.stderr if arguments.json else sys.stdout, flush=True)
        why = "it names no certificate" if path.suffix == ".csv" else "it is none: give *_certificate.npz, or a table"
        lines, good = [("FAILS", "certificate", why if path.exists() else "there is no such file")], False
        with contextlib.suppress(*UNREADABLE):
            lines, good = (checked := certificate_of(path).check()).lines, checked.accepted
        told.append({"certificate": str(path), "accepted": good, "lines": lines})
        if not arguments.json:
            wrong = [f"{state}: {name}" for state, name, _ in lines if state != "ok"]
            print(*(f"  {state:<11} {name}: {seen}" for state, name, seen in lines), sep="\n")
            print("accepted" if good else f"not accepted ({', '.join(wrong)})", flush=True)
    if arguments.json:
        print(json.dumps(told, indent=2), flush=True)
    return 0 if told and all(one["accepted"] for one in told) else 1


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(ending, signal.SIG_DFL)  # a quiet end, whose exit code is 130 or 141 in a shell
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"error: what was found cannot be printed: {error.strerror}.")
