"""The house's rules, held by tools: style, types, import arrows, file sizes, no shell strings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PACKAGES = ("systemvm", "mgmt", "appliance", "images")
LONGEST_FILE = 400


def tool(*argv: str) -> None:
    done = subprocess.run(
        [str(BIN / argv[0]), *argv[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.j2", "*.yml", "*.yaml", "*.js"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


class TestTools:
    def test_ruff(self) -> None:
        tool("ruff", "check", ".")

    def test_format(self) -> None:
        tool("ruff", "format", "--check", ".")

    def test_types(self) -> None:
        tool("mypy")

    def test_import_arrows(self) -> None:
        tool("lint-imports")

    def test_shell_scripts(self) -> None:
        done = subprocess.run(
            ["shellcheck", "--severity=warning", "scripts/setup", ".ci/run"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    def test_scripts_of_the_tiny_guest(self) -> None:
        root = ROOT / "playbooks/roles/tiny_guest/files/root"
        scripts = [
            root / "etc/init.d/rcS",
            *(root / "usr/bin").iterdir(),
            *(root / "usr/lib/pileus-tiny").iterdir(),
        ]
        argv = ["shellcheck", "--shell=sh", "--external-sources", f"--source-path={root}", *map(str, scripts)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    def test_files_are_short(self) -> None:
        too_long = {
            str(path.relative_to(ROOT)): count
            for path in sources()
            # Migrations are generated, and frozen once they are released.
            if "migrations" not in path.parts and (count := len(path.read_text().splitlines())) > LONGEST_FILE
        }
        assert not too_long

    def test_no_shell_strings_and_no_switched_off_checks(self) -> None:
        forbidden = re.compile(r"shell=True|os\.system\(|verify=False")
        hits = [
            f"{path.relative_to(ROOT)}:{number}"
            for path in sources()
            if path.suffix == ".py" and "tests" not in path.relative_to(ROOT).parts
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if forbidden.search(line)
        ]
        assert not hits
