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
from appliance.cli.api.shell import ApiCompleter, Known, explain
from appliance.cli.api.show import print_answer, values_of

pytestmark = pytest.mark.unit

KNOWN = {
    "listHosts": Known("listHosts", "Lists hosts.", {"id": "the ID", "zoneid": "the zone"}),
    "listZones": Known("listZones", "Lists zones.", {}),
}


def shown(answer: dict[str, Any], output: str = "table") -> str:
    console = Console(file=io.StringIO(), width=100)
    print_answer(answer, output, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


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
