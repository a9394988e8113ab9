"""Templates refuse unknown names and values that could break out of their place."""

from pathlib import Path

import jinja2
import pytest

from systemvm.engine.templates import UnsafeValue, line, quoted, render_template, to_json, word
from systemvm.spec.state import State
from systemvm.spec.types import Role

pytestmark = pytest.mark.unit

STATE = State(
    generation=7, machine="11111111-2222-3333-4444-555555555555", role=Role.router, hostname="r-1-vm"
)


def test_renders_values_behind_the_header(tmp_path: Path) -> None:
    (tmp_path / "x.j2").write_text(
        "# {{ header }}\n{% for name in names %}\nname {{ name | word }} {{ name | quoted }}\n{% endfor %}\n"
    )
    text = render_template(tmp_path, "x.j2", STATE, names=["a-b", "c"])
    first, *rest = text.splitlines()
    assert first.startswith("# Do not edit")
    assert STATE.machine in first
    assert rest == ['name a-b "a-b"', 'name c "c"']


def test_header_is_the_same_in_every_generation(tmp_path: Path) -> None:
    (tmp_path / "x.j2").write_text("# {{ header }}\n")
    later = State(generation=8, machine=STATE.machine, role=STATE.role, hostname=STATE.hostname)
    assert render_template(tmp_path, "x.j2", STATE) == render_template(tmp_path, "x.j2", later)


def test_unknown_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.j2").write_text("{{ missing }}")
    with pytest.raises(jinja2.UndefinedError, match="missing"):
        render_template(tmp_path, "x.j2", STATE)


def test_nothing_is_escaped_as_html(tmp_path: Path) -> None:
    (tmp_path / "x.j2").write_text("{{ text | line }}")
    assert render_template(tmp_path, "x.j2", STATE, text="a & b <c>") == "a & b <c>"


@pytest.mark.parametrize("value", ["", "a b", "a\nb", "a;b", "a{b", 'a"b', "a#b", "$a", "a\\b", "a'b", "é"])
def test_word_refuses(value: str) -> None:
    with pytest.raises(UnsafeValue):
        word(value)


@pytest.mark.parametrize("value", ["10.1.1.0/24", "aa:bb:cc:dd:ee:ff", "eth0", "a.b-c_d", 80])
def test_word_passes(value: object) -> None:
    assert word(value) == str(value)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\tb", "a\u2028b", "a\x1bb"])
def test_line_and_quoted_refuse_control_characters(value: str) -> None:
    with pytest.raises(UnsafeValue):
        line(value)
    with pytest.raises(UnsafeValue):
        quoted(value)


def test_quoted_escapes() -> None:
    assert quoted('say "hi" \\ bye') == '"say \\"hi\\" \\\\ bye"'


def test_json_is_stable() -> None:
    assert to_json({"b": 1, "a": "\n"}) == '{"a": "\\n", "b": 1}'
