"""Steps: what an operator reads, in which order, and that a failed one is undone and explained."""

import io

import pytest
from rich.console import Console

from appliance.launcher.steps import Progress, Step, StepFailed, run_steps

pytestmark = pytest.mark.unit


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_step_says_what_it_found_and_how_long_it_took() -> None:
    out = console()
    run_steps([Step("One", lambda say: "there"), Step("Two", lambda say: "[made] anew")], out)
    lines = printed(out).splitlines()
    assert [line.partition(" ")[2].split(" 0.")[0] for line in lines] == ["One: there", "Two: [made] anew"]
    assert all(line.endswith(" s") for line in lines)


def test_a_failed_step_names_itself_the_reason_and_what_to_do() -> None:
    undone: list[str] = []

    def fail(say: Progress) -> str:
        raise ValueError("no space left")

    def never(say: Progress) -> str:
        raise AssertionError("the step after a failed one must not run")

    steps = [
        Step("Disks", fail, hint="free some space", undo=lambda: undone.append("Disks")),
        Step("Later", never),
    ]
    with pytest.raises(StepFailed, match="Disks: no space left") as failure:
        run_steps(steps, console())
    assert failure.value.hint == "free some space"
    assert undone == ["Disks"]


def test_the_hint_of_the_error_wins_over_the_steps() -> None:
    def fail(say: Progress) -> str:
        raise StepFailed("it broke", "mend it")

    with pytest.raises(StepFailed) as failure:
        run_steps([Step("It", fail, hint="something general")], console())
    assert (str(failure.value), failure.value.hint) == ("It: it broke", "mend it")
