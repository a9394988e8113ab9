"""What `pileus api` and the shell make of words and answers."""

import io
from pathlib import Path
from typing import Any

import pytest
from cs import CloudStack
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from rich.console import Console

from appliance.cli.api.client import CallFailed, call, connect, parse_parameters
from appliance.cli.api.known import Known, check_words
from appliance.cli.api.shell import ApiCompleter, explain
from appliance.cli.api.show import print_answer, values_of

pytestmark = pytest.mark.unit

KNOWN = {
    "listHosts": Known("listHosts", "Lists hosts.", {"id": "the ID", "zoneid": "the zone"}),
    "listZones": Known("listZones", "Lists zones.", {}),
}


def shown(answer: dict[str, Any], output: str = "table", width: int = 100) -> str:
    written = io.StringIO()
    print_answer(answer, output, Console(file=written, width=width))
    return written.getvalue()


def completions(text: str) -> list[str]:
    found = ApiCompleter(KNOWN).get_completions(Document(text), CompleteEvent())
    return [item.text for item in found]


def test_parameters_are_split_at_the_first_equals_sign() -> None:
    assert parse_parameters(["name=web", "userdata=YQ==", "note="]) == {
        "name": "web",
        "userdata": "YQ==",
        "note": "",
    }


@pytest.mark.parametrize("word", ["name", "=x", ""])
def test_a_word_that_is_no_parameter_is_named(word: str) -> None:
    with pytest.raises(CallFailed, match="is no parameter"):
        parse_parameters([word])


@pytest.mark.parametrize(
    ("command", "names", "words"),
    [
        ("listHost", [], r"no command 'listHost' for you \(did you mean listHosts\?\)"),
        ("dropTables", [], "no command 'dropTables' for you;"),
        ("listHosts", ["zonid"], r"has no parameter 'zonid' \(did you mean zoneid\?\); it has id, zoneid"),
        ("listZones", ["tags[0].key"], "it has none"),
    ],
)
def test_mistyped_words_are_not_sent_and_what_was_meant_is_named(
    command: str, names: list[str], words: str
) -> None:
    with pytest.raises(CallFailed, match=words):
        check_words(KNOWN, command, names)


def test_parameters_may_be_of_any_case_and_maps() -> None:
    check_words(KNOWN, "listHosts", ["zoneId", "id[0].key"])


@pytest.mark.parametrize("command", ["endpoint", "list-zones", "_send", "a b", ""])
def test_what_is_no_command_is_not_sent(command: str) -> None:
    with pytest.raises(CallFailed, match="is no command"):
        call(CloudStack("http://127.0.0.1:1", "k", "s"), command, {})


def test_no_cloud_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLOUDSTACK_CONFIG", "CLOUDSTACK_ENDPOINT", "CLOUDSTACK_KEY", "CLOUDSTACK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CallFailed, match="run `pileus up`"):
        connect(tmp_path / "cloudstack.ini")


def test_many_are_a_table_and_one_is_a_list_of_fields() -> None:
    rows = [{"id": "1", "name": "web", "state": "Running", "nic": []}, {"id": "2", "name": "db"}]
    text = shown({"count": 5, "virtualmachine": rows})
    assert "web" in text
    assert "Running" in text
    assert "2 of 5" in text
    assert "nic" in shown({"virtualmachine": rows[0]})


@pytest.mark.parametrize("width", [40, 60, 100])
def test_ids_are_never_cut(width: int) -> None:
    vm = {"id": "021c0d5e-9222-4ea6-b5a2-a49b1a35528f", "name": "web", "displayname": "x" * 40}
    text = shown({"count": 2, "virtualmachine": [vm, {**vm, "account": "alice"}]}, width=width)
    assert text.count(vm["id"]) == 2
    assert ("account" in text) == (width == 100)


def test_figures_are_shown_where_names_tell_too_little() -> None:
    figures = {"type": 0, "name": "MEMORY", "zonename": "z1", "capacitytotal": 8192, "percentused": "0.47"}
    text = shown({"count": 2, "capacity": [figures, {**figures, "percentused": "0.50"}]})
    assert "8192" in text
    assert "0.50" in text


def test_one_field_for_scripts() -> None:
    rows = [{"id": "1", "nic": [{"ipaddress": "10.1.1.2"}]}, {"id": "2", "nic": [{"ipaddress": "10.1.1.3"}]}]
    answer = {"count": 2, "virtualmachine": rows}
    assert values_of(answer, "id") == ["1", "2"]
    assert values_of(answer, "nic.0.ipaddress") == ["10.1.1.2", "10.1.1.3"]
    assert values_of({"success": True}, "success") == ["true"]
    for empty, field in ((answer, "name"), (answer, "nic.1"), ({}, "id")):
        with pytest.raises(CallFailed, match=f"has no {field}"):
            values_of(empty, field)


def test_empty_and_plain_answers() -> None:
    assert shown({}) == "nothing found\n"
    assert shown({"success": True}) == '{"success": true}\n'
    assert '"success"' in shown({"success": True}, "json")


def test_commands_and_parameters_complete() -> None:
    assert completions("listH") == ["listHosts"]
    assert completions("help list") == ["listHosts", "listZones"]
    assert completions("listHosts ") == ["id=", "zoneid="]
    assert completions("listHosts id=7 z") == ["zoneid="]
    assert completions("listHosts zoneid=") == []
    assert completions("unknown ") == []


def test_help_has_the_words_of_every_parameter() -> None:
    assert "zoneid  the zone" in explain(KNOWN, "listHosts")
    assert "no command" in explain(KNOWN, "dropTables")
