"""A command's reference as plain text, for terminals."""

from collections.abc import Iterator
from textwrap import fill

from mgmt.api.reference.described import Described, refusals

_WIDTH = 100


def as_text(item: Described) -> str:
    """All about a command."""
    return "\n".join(_lines(item))


def _lines(item: Described) -> Iterator[str]:
    kind = "with a job" if item.words.isasync else "at once"
    yield f"{item.name}: {item.words.description}"
    yield f"For {item.callers}. Answers {kind}."
    if item.words.params:
        yield "\nParameters:"
    for each in sorted(item.words.params, key=lambda each: (not each.required, each.name)):
        needed = ", required" if each.required else ""
        yield f"  {each.name} ({each.type}{needed})  {each.description}"
    inside = f" in {item.key}" if item.key else ""
    yield f"\nFields of the answer{inside}:"
    names = ", ".join(each.name for each in item.words.response)
    yield fill(names, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    yield "\nRefusals:"
    yield from (f"  {code}  {refusals()[code]}" for code in item.codes)
    if item.example is not None:
        yield "\nExample:"
        yield f"  {item.example.call}"
        yield f"  → {item.example.told}"
