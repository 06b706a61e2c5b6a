"""The committed lock: no addresses in it, and the tool that takes them out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools.strip_lock import strip, strip_file

CHECKOUT = Path(__file__).parents[2]
FULL = """\
version = 1

[[package]]
name = "alexnet-repair"
version = "0.1.0"
source = { virtual = "." }
dependencies = [
    { name = "numpy", version = "2.4.6", source = { registry = "<index>" } },
]

[package.dev-dependencies]
dev = [
    { name = "ruff" },
]

[package.metadata]
requires-dist = [{ name = "numpy", specifier = ">=2" }]

[package.metadata.requires-dev]
dev = [
    { name = "ruff", specifier = ">=0.11" },
]

[[package]]
name = "numpy"
version = "2.4.6"
source = { registry = "<index>" }
resolution-markers = [
    "python_full_version < '3.12'",
]
sdist = { url = "https://files.example/numpy.tar.gz", hash = "sha256:0", size = 1 }
wheels = [
    { url = "https://files.example/numpy-cp311.whl", hash = "sha256:1", size = 2 },
    { url = "https://files.example/numpy-cp312.whl", hash = "sha256:2", size = 3 },
]

[[package]]
name = "ruff"
version = "0.11.0"
source = { registry = "<other index>" }
wheels = [
    { url = "https://files.example/ruff.whl", hash = "sha256:3" },
]
"""
for place, host in (("<index>", "one.example/index"), ("<other index>", f"two.example:{8080}/index/")):
    FULL = FULL.replace(place, f"https://{host}")


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def committed() -> str:
    if shutil.which("git") is None or git("rev-parse", "--git-dir").returncode != 0:
        pytest.skip("this is no git checkout, so there is no committed lock")
    shown = git("show", "HEAD:./uv.lock")
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def test_the_committed_lock_has_no_addresses(committed: str) -> None:
    assert "://" not in committed
    assert strip(committed) == committed


def test_the_committed_lock_has_every_package_once(committed: str) -> None:
    packages = tomllib.loads(committed)["package"]
    versions = [(package["name"], package["version"]) for package in packages]
    assert len(set(versions)) == len(versions)
    assert {"torch", "highspy", "gurobipy", "pytest"} <= {name for name, _ in versions}
    assert all(package["source"] in ({"registry": "."}, {"virtual": "."}) for package in packages)


def test_stripping_keeps_all_but_addresses() -> None:
    before, after = tomllib.loads(FULL), tomllib.loads(strip(FULL))
    for package in before["package"]:
        for unwanted in ("sdist", "wheels", "metadata"):
            package.pop(unwanted, None)
        for table in (package, *package.get("dependencies", [])):
            if "registry" in table.get("source", {}):
                table["source"]["registry"] = "."
    assert after == before


def test_stripping_again_changes_nothing() -> None:
    assert strip(strip(FULL)) == strip(FULL)


def test_an_address_that_cannot_go_is_told(tmp_path: Path) -> None:
    lock = tmp_path / "uv.lock"
    lock.write_text(FULL + '\n[[package]]\nname = "x"\nsource = { git = "https://git.example/x" }\n')
    assert "git.example" in (strip_file(lock, check=False) or "")
    assert lock.read_text().startswith(FULL)


def test_the_command_line(tmp_path: Path) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(CHECKOUT / "tools/strip_lock.py"), *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    missing = run()
    assert missing.returncode == 1
    assert "uv.lock" in missing.stderr
    (tmp_path / "uv.lock").write_text(FULL)
    assert run("--check").returncode == 1
    assert (tmp_path / "uv.lock").read_text() == FULL
    assert run().returncode == 0
    assert (tmp_path / "uv.lock").read_text() == strip(FULL)
    assert run("--check").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["uv.lock"]
