"""What the server says there is: to complete words, and to find the mistyped ones before they are sent."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cs import CloudStack

from appliance.cli.api.client import CallFailed, call

LIST_APIS = "listApis"


@dataclass(frozen=True)
class Known:
    """A command as listApis describes it: parameter names with their words, required ones first."""

    name: str
    description: str
    parameters: dict[str, str]


def known_commands(cloud: CloudStack) -> dict[str, Known]:
    """What the caller may call. Raises CallFailed."""
    return {item["name"]: _known(item) for item in call(cloud, LIST_APIS, {})["api"]}


def known_command(cloud: CloudStack, name: str) -> dict[str, Known] | None:
    """One command; everything the caller may call if it is not there; None if the caller may not ask."""
    try:
        return {item["name"]: _known(item) for item in call(cloud, LIST_APIS, {"name": name})["api"]}
    except CallFailed:
        pass
    try:
        return known_commands(cloud)
    except CallFailed:
        return None


def check_words(known: Mapping[str, Known], command: str, parameters: Iterable[str]) -> None:
    """Raise CallFailed for a command or a parameter that is not there, with what may have been meant.

    The server ignores parameters that it does not know, as the protocol wants it: a filter that is
    mistyped would list, and in a script delete, everything.
    """
    if command not in known:
        raise CallFailed(
            f"there is no command {command!r} for you{_meant(command, known)};"
            " `pileus api listApis` shows those there are"
        )
    names = known[command].parameters
    for name in parameters:
        if name.partition("[")[0].lower() not in names:
            there = ", ".join(names) or "none"
            raise CallFailed(f"{command} has no parameter {name!r}{_meant(name, names)}; it has {there}")


def _meant(word: str, words: Collection[str]) -> str:
    lower = {item.lower(): item for item in words}
    close = difflib.get_close_matches(word.lower(), lower, n=2, cutoff=0.75)
    return f" (did you mean {' or '.join(lower[item] for item in close)}?)" if close else ""


def _known(item: dict[str, Any]) -> Known:
    params = sorted(item["params"], key=lambda each: (not each["required"], each["name"]))
    return Known(
        item["name"],
        item["description"],
        {each["name"]: ("required: " if each["required"] else "") + each["description"] for each in params},
    )
