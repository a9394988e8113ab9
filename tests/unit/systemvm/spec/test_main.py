"""The exported JSON Schemas are those of the code, and judge as msgspec does."""

import json
from pathlib import Path

import pytest

from systemvm.spec.__main__ import main, schemas

pytestmark = pytest.mark.unit
FOLDER = Path(__file__).parents[4] / "docs" / "schema"


@pytest.mark.parametrize("name", sorted(schemas()))
def test_exported_schema_is_current(name: str) -> None:
    assert (FOLDER / name).read_text() == schemas()[name], "run: python -m systemvm.spec docs/schema"


def test_nothing_else_is_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(schemas())


def test_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path / "new")])
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(schemas())
    assert capsys.readouterr().out == ""
    main([])
    assert json.loads(schemas()["state.json"])["$ref"] == "#/$defs/State"
    assert schemas()["state.json"] in capsys.readouterr().out
