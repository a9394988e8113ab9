"""The interactive shell: commands and parameters complete from what the server says it has."""

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from appliance.cli.api.known import Known


class ApiCompleter(Completer):
    """Completes the command first, then the names of its parameters that are not there yet."""

    def __init__(self, known: dict[str, Known]) -> None:
        self._known = known

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What fits before the cursor."""
        before = document.text_before_cursor
        words = before.split()
        current = "" if before[-1:].isspace() or not words else words.pop()
        if not words or words == ["help"]:
            yield from self._commands(current)
        elif words[0] in self._known and "=" not in current:
            given = {word.partition("=")[0] for word in words[1:]}
            for name, text in self._known[words[0]].parameters.items():
                if name.startswith(current.lower()) and name not in given:
                    yield Completion(f"{name}=", -len(current), display=name, display_meta=text)

    def _commands(self, current: str) -> Iterable[Completion]:
        for name, item in self._known.items():
            if name.lower().startswith(current.lower()):
                yield Completion(name, -len(current), display_meta=item.description)


def explain(known: dict[str, Known], name: str) -> str:
    """The words for `help COMMAND`."""
    item = known.get(name)
    if item is None:
        return f"there is no command {name!r} for you; press TAB to see those there are"
    lines = [f"{name}: {item.description}", *(f"  {key}  {text}" for key, text in item.parameters.items())]
    return "\n".join(lines)


def run_shell(
    known: dict[str, Known], history: Path, run: Callable[[list[str]], None], say: Callable[[str], None]
) -> None:
    """Read lines until `exit` or the end of input; `run` gets the words of each, `say` the shell's own."""
    history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    session: PromptSession[str] = PromptSession(
        "pileus> ",
        completer=ApiCompleter(known),
        history=FileHistory(str(history)),
        complete_while_typing=False,
    )
    while True:
        try:
            words = shlex.split(session.prompt())
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        except ValueError as error:
            say(f"{error}: quotes come in pairs")
            continue
        if words == ["exit"]:
            return
        if words[:1] == ["help"]:
            say(explain(known, words[1]) if len(words) > 1 else "help COMMAND; TAB completes; exit leaves")
        elif words:
            run(words)
