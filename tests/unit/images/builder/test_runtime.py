import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest

from images.builder.paths import REPOSITORY
from images.builder.runtime import REQUIREMENTS, pileus_version

pytestmark = pytest.mark.unit

LINE = re.compile(r"([a-z0-9-]+)==([0-9][0-9a-z.]*) --hash=sha256:[0-9a-f]{64}")


def _pinned() -> dict[str, str]:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), "every requirement is pinned by version and content"
    return {match[1]: match[2] for match in found if match}


def _imported() -> set[str]:
    """Top-level modules that anything of the runtime imports, at its head or inside a function."""
    found = set()
    for path in (REPOSITORY / "systemvm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found


def test_whatever_the_runtime_imports_is_in_the_image() -> None:
    distributions = packages_distributions()
    foreign = _imported() - sys.stdlib_module_names - {"systemvm"}
    assert {"flask", "msgspec", "pyroute2"} <= foreign
    missing = {
        module: distributions.get(module, ["nothing installed"])
        for module in foreign
        if not {name.lower().replace("_", "-") for name in distributions.get(module, [])} & set(_pinned())
    }
    assert missing == {}


def test_version_is_the_projects() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", pileus_version())
