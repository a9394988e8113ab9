"""Parameters from the text of requests."""

from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from msgspec import Meta

from mgmt.api.params import MULTILINE, Form, parse_hint, read_parameter
from mgmt.model.errors import MissingParameter, ParameterError

pytestmark = pytest.mark.unit


def read(hint: Any, pairs: dict[str, str], *, required: bool = False) -> Any:
    return read_parameter("createThing", parse_hint("size", hint, required=required), Form(pairs))


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (str, "x y", "x y"),
        (str | None, "", ""),
        (int | None, "", None),
        (int, "-5", -5),
        (float, "1.5", 1.5),
        (bool, "true", True),
        (bool, "True", True),
        (bool, "None", False),
        (bool, "1", False),
        (list[str], "a, b,,c", ["a", "b", "c"]),
        (datetime, "2026-01-31T12:00:00+0000", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (datetime, "2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (Annotated[str, MULTILINE], "a\nb", "a\nb"),
    ],
)
def test_values(hint: Any, text: str, value: object) -> None:
    assert read(hint, {"SIZE": text}) == value


@pytest.mark.parametrize(
    ("hint", "text", "words"),
    [
        (int, "many", "Invalid value many for parameter size: expected a whole number"),
        (Annotated[int, Meta(ge=1, le=9)], "70", "value 70 for parameter size: expected a whole number <= 9"),
        (str, "a\x07b", "parameter size holds control characters"),
        (str, "a\nb", "parameter size holds control characters"),
        (str, "x" * 256, "parameter size is 256 characters long; at most 255"),
        (Annotated[str, Meta(max_length=3)], "four", "4 characters long; at most 3"),
        (datetime, "soon", "expected a date as 2026-01-31T12:00:00+0000"),
        (Annotated[str, Meta(pattern="^[a-z]+$")], "A1", "Invalid value A1 for parameter size"),
    ],
)
def test_wrong_values_name_parameter_value_and_expectation(hint: Any, text: str, words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read(hint, {"size": text})
    assert words in caught.value.text


@pytest.mark.parametrize("pairs", [{}, {"size": ""}])
@pytest.mark.parametrize("hint", [str, int, list[str], dict[str, str]])
def test_missing_parameter_has_the_literal_text(hint: Any, pairs: dict[str, str]) -> None:
    with pytest.raises(MissingParameter) as caught:
        read(hint, pairs, required=True)
    assert caught.value.text == "Unable to execute API command creatething due to missing parameter size"


@pytest.mark.parametrize("hint", [dict[str, str], list[dict[str, str]]])
@pytest.mark.parametrize("name", ["size", "size[0]"])
def test_a_map_without_keys_is_wrong_and_not_left_out(hint: Any, name: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read(hint, {name: "large"})
    assert caught.value.text == "Invalid value large for parameter size: expected size[0].NAME=VALUE"
    assert read(hint, {"size": "None"}) is None


def test_maps_keep_the_case_of_their_keys() -> None:
    pairs = {"Size[0].cpuNumber": "2", "size[1].memory": "512"}
    assert read(dict[str, str], pairs) == {"cpuNumber": "2", "memory": "512"}


def test_tags_are_maps_by_key_and_value() -> None:
    pairs = {"size[0].key": "Colour", "size[0].value": "red", "size[1].value": "x", "size[1].key": "y"}
    assert read(dict[str, str], pairs) == {"Colour": "red", "y": "x"}


def test_lists_of_maps() -> None:
    pairs = {"size[0].networkId": "n", "size[0].ip": "10.1.1.5", "size[1].networkid": "m"}
    assert read(list[dict[str, str]], pairs) == [{"networkid": "n", "ip": "10.1.1.5"}, {"networkid": "m"}]


def test_control_characters_in_maps_are_refused() -> None:
    with pytest.raises(ParameterError):
        read(dict[str, str], {"size[0].key": "a", "size[0].value": "b\x00"})
