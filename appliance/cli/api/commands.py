"""The subcommands: `pileus api COMMAND key=value…` and `pileus shell`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from cs import CloudStack
from rich.console import Console

from appliance.cli.api.client import CallFailed, call, connect, follow, parse_parameters
from appliance.cli.api.known import Known, check_words, known_command, known_commands
from appliance.cli.api.shell import run_shell
from appliance.cli.api.show import print_answer, screen, values_of
from appliance.launcher.client import credentials_file
from appliance.paths import Paths

OUTPUT = click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Format."
)
FIELD = click.option("--field", "-f", metavar="NAME", help="Print only this field, a line for each object.")
WAIT = click.option("--wait/--no-wait", default=True, help="Wait for the job of an asynchronous command.")
HISTORY = Path.home() / ".local/state/pileus/history"


@click.command("api", add_help_option=False)
@click.argument("command", required=False)
@click.argument("parameters", metavar="[KEY=VALUE]…", nargs=-1)
@OUTPUT
@FIELD
@WAIT
@click.option("--help", "wants_help", is_flag=True, help="Show this, or all about COMMAND.")
@click.pass_context
def api_command(
    context: click.Context,
    command: str | None,
    parameters: tuple[str, ...],
    output: str,
    field: str | None,
    wait: bool,
    wants_help: bool,
) -> None:
    """Call COMMAND of the API, as admin of this machine's cloud or as CLOUDSTACK_CONFIG says.

    Example: pileus api listVirtualMachines state=Running
    """
    if command is None or wants_help:
        click.echo(context.get_help() if command is None else explain_command(command))
        return
    try:
        cloud = connect(credentials_file(Paths.from_environment()))
        given = parse_parameters(parameters)
        answer = perform(cloud, command, given, wait, known_command(cloud, command))
        if field is None:
            print_answer(answer, output, screen())
        else:
            click.echo("\n".join(values_of(answer, field)))
    except CallFailed as failure:
        raise click.ClickException(str(failure)) from None


def explain_command(name: str) -> str:
    """The reference of a command: of this version, without asking a server. Raises ClickException."""
    # Here, because the whole API is slow to load and no other command of `pileus` needs it.
    from mgmt.api.app import load_commands
    from mgmt.api.reference.described import described
    from mgmt.api.reference.text import as_text

    load_commands()
    found = described(name)
    if found is None:
        raise click.ClickException(
            f"there is no command {name!r}; `pileus api listApis` shows those there are"
        )
    return as_text(found)


@click.command("shell")
@OUTPUT
@WAIT
def shell_command(output: str, wait: bool) -> None:
    """Call commands one after the other; TAB completes commands and parameters."""
    console = Console(stderr=True)
    try:
        cloud = connect(credentials_file(Paths.from_environment()))
        known = known_commands(cloud)
    except CallFailed as failure:
        raise click.ClickException(str(failure)) from None
    say: Callable[[str], None] = lambda words: console.print(words, markup=False, highlight=False)  # noqa: E731

    def run(words: list[str]) -> None:
        try:
            answer = perform(cloud, words[0], parse_parameters(words[1:]), wait, known)
            print_answer(answer, output, screen())
        except CallFailed as failure:
            say(f"Error: {failure}")

    run_shell(known, HISTORY, run, say)


def perform(
    cloud: CloudStack,
    command: str,
    parameters: dict[str, str],
    wait: bool,
    known: Mapping[str, Known] | None,
) -> dict[str, Any]:
    """One call and its job; the answer. `known` are commands to check it by. Raises CallFailed."""
    if known is not None:
        check_words(known, command, parameters)
    answer = call(cloud, command, parameters)
    if wait and "jobid" in answer:
        progress = Console(stderr=True)
        with progress.status(f"{command}: started") as line:
            answer = follow(cloud, answer["jobid"], lambda step: line.update(f"{command}: {step}"))
    return answer
