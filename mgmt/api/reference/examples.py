"""Examples: calls in `stories/*.txt`, in order, each with a part of its answer; a test runs them all.

    # A zone, a host, a first network                     the title: first line of a file
    zone = createZone name=zone1 networktype=Advanced dns1=9.9.9.9 internaldns1=9.9.9.9 -> name=zone1
    listZones id={zone} -> count=1                        {zone} is the id of what was kept as `zone`
    alice> listVirtualMachines -> count=0                 called by the user alice, not by admin
    ...                                                   the reconcile loop takes its turn

Behind `->` stand fields of the answered object (or of the first of a list, or the list's `count`), with
their values or only their names. `{vm.nic.0.id}` is a field of what was kept as `vm`. The first call of a
command with ` -> ` is the example that the reference shows.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

TURN = "..."
ARROW = " -> "
_LINE = re.compile(r"^(?:(?P<kept>\w+) = )?(?:(?P<user>[\w-]+)> )?(?P<command>[a-z]\w*)(?P<words>.*)$")
_NAME = re.compile(r"\{([\w.]+)\}")


class WrongStory(ValueError):
    """A line that is no example; the text names file, line and mistake."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One call. `answer` has fields with the values they must have; None where any value will do."""

    place: str
    command: str
    parameters: dict[str, str]
    answer: dict[str, str | None]
    kept: str | None = None
    user: str | None = None

    @property
    def call(self) -> str:
        """What to type into a terminal; `<zone>` stands for an id that an earlier call gave."""
        words = (f"{name}={_shown(value)}" for name, value in self.parameters.items())
        return " ".join(("pileus api", self.command, *map(_quoted, words)))

    @property
    def told(self) -> str:
        """The part of the answer, in words."""
        shown = (name if value is None else f"{name}={_shown(value)}" for name, value in self.answer.items())
        return " ".join(shown)


@dataclass(frozen=True)
class Story:
    """Examples that follow each other; None is a turn of the reconcile loop."""

    title: str
    steps: tuple[Example | None, ...]


@cache
def all_stories() -> tuple[Story, ...]:
    """The stories in order. Raises WrongStory."""
    found = [item for item in files(__package__).joinpath("stories").iterdir() if item.name.endswith(".txt")]
    return tuple(
        parse_story(item.name, item.read_text()) for item in sorted(found, key=lambda item: item.name)
    )


@cache
def examples() -> dict[str, Example]:
    """The example of each command that has one."""
    found: dict[str, Example] = {}
    for story in all_stories():
        for step in story.steps:
            if step is not None and step.answer:
                found.setdefault(step.command, step)
    return found


def parse_story(name: str, text: str) -> Story:
    """The story in a file's text. Raises WrongStory."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("# "):
        raise WrongStory(f"{name}: the first line must be its title, as '# A zone'")
    return Story(lines[0][2:], tuple(_steps(name, lines)))


def _steps(name: str, lines: list[str]) -> Iterator[Example | None]:
    for number, line in enumerate(lines, 1):
        if line == TURN:
            yield None
        elif line.strip() and not line.startswith("#"):
            yield _example(f"{name}:{number}", line)


def _example(place: str, line: str) -> Example:
    call, _, answer = line.partition(ARROW)
    matched = _LINE.match(call)
    if matched is None:
        raise WrongStory(f"{place}: {line!r} is no call; write 'kept = command name=value -> field=value'")
    return Example(
        place=place,
        command=matched["command"],
        parameters={key: value or "" for key, value in _pairs(matched["words"]).items()},
        answer=_pairs(answer),
        kept=matched["kept"],
        user=matched["user"],
    )


def _pairs(words: str) -> dict[str, str | None]:
    parted = (word.partition("=") for word in shlex.split(words))
    return {name: value if equals else None for name, equals, value in parted}


def _shown(value: str) -> str:
    return _NAME.sub(r"<\1>", value)


def _quoted(word: str) -> str:
    return shlex.quote(word) if re.search(r"[\s'\"$&|;*?()]", word) or word.endswith("=") else word
