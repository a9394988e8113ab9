"""Every command has an example, and all examples run as they are written."""

import pytest

from mgmt.api.app import load_commands
from mgmt.api.reference.examples import WrongStory, all_stories, examples, parse_story
from mgmt.api.registry import REGISTRY
from mgmt.api.testing import Api
from mgmt.doctor.examine import examine
from tests.unit.mgmt.api.reference.storyteller import Storyteller

pytestmark = pytest.mark.unit

load_commands()


def test_the_stories_are_true(api: Api) -> None:
    teller = Storyteller(api)
    for story in all_stories():
        teller.tell(story)
        assert examine(teller.runtime) == [], story.title


def test_every_command_has_an_example() -> None:
    missing = [item.name for item in REGISTRY.all() if item.name not in examples()]
    how = "add a line that fits to mgmt/api/reference/stories/*.txt, as: startThing id={thing} -> state=Up"
    assert not missing, f"no example of {', '.join(missing)}: {how}"


def test_examples_are_of_commands_that_are_there() -> None:
    gone = [
        step.place
        for story in all_stories()
        for step in story.steps
        if step and not REGISTRY.find(step.command)
    ]
    assert not gone, f"no such command: {gone}"


@pytest.mark.parametrize(
    ("text", "words"), [("listZones", "must be its title"), ("# A\n\nList zones", "A:3"), ("# A\n= x", "A:2")]
)
def test_a_wrong_line_is_named(text: str, words: str) -> None:
    with pytest.raises(WrongStory, match=words):
        parse_story("A", text)
