"""`pileus`: the one command of an operator. Each subcommand says what it does, and why it could not."""

import sys
from ipaddress import IPv4Address

import click
import msgspec
from rich.console import Console

from appliance.backup.commands import backup_command, restore_command
from appliance.cli.api.commands import api_command, shell_command
from appliance.launcher.settings import Settings, read_settings
from appliance.launcher.steps import StepFailed, run_steps
from appliance.paths import Paths
from images.cli import image_group

CONSOLE = Console(soft_wrap=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pileus")
def main() -> None:
    """Turns this machine into a cloud that speaks the CloudStack API.

    Everything of a cloud is in one folder, PILEUS_HOME (default /var/lib/pileus); built images are in
    PILEUS_CACHE (default /var/cache/pileus).
    """


@main.command()
@click.option("--uplink", default="", help="Let guests out through this interface, e.g. eth0; else not.")
@click.option("--api-address", default=None, help="Address the API listens on; default 127.0.0.1.")
@click.option("--api-port", type=click.IntRange(1, 65535), default=None, help="Default 8080.")
def up(uplink: str, api_address: str | None, api_port: int | None) -> None:
    """Bring up the cloud: images, services, a zone, system VMs, a first VM."""
    from appliance.launcher.summary import print_summary
    from appliance.launcher.up import bring_up

    paths = Paths.from_environment()
    # Not remembered for the next call: a way out is open as long as somebody asks for it. The boot unit asks
    # for what was asked last.
    changes: dict[str, object] = {"uplink": uplink}
    if api_address is not None:
        changes["api_address"] = _address(api_address)
    if api_port is not None:
        changes["api_port"] = api_port
    settings = msgspec.structs.replace(_settings(paths) or Settings(), **changes)
    with _failures_explained():
        print_summary(bring_up(paths, settings, CONSOLE))


@main.command()
def down() -> None:
    """Stop everything `pileus up` started; keep the data."""
    from appliance.launcher.down import down_steps

    with _failures_explained():
        run_steps(down_steps(Paths.from_environment()), CONSOLE)


@main.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-images", is_flag=True, help="Keep built images, which take minutes to build again.")
def clean(yes: bool, keep_images: bool) -> None:
    """Remove everything `pileus up` made: VMs, disks, database, networks, images."""
    from appliance.launcher.down import clean_steps

    paths = Paths.from_environment()
    if not yes:
        click.confirm(f"Remove {paths.home} with all VMs and their disks?", abort=True)
    with _failures_explained():
        run_steps(clean_steps(paths, keep_images), CONSOLE)


@main.command()
def preflight() -> None:
    """Check whether this machine can be a cloud; say what to repair."""
    from appliance.preflight import run_preflight

    paths = Paths.from_environment()
    results = run_preflight(paths, _settings(paths) or Settings(), lambda words: None)
    marks = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}
    for result in results:
        CONSOLE.print(f"{marks[result.level]} {result.name}: {result.cause}", highlight=False)
        if result.level != "ok":
            CONSOLE.print(f"    → {result.repair}", highlight=False)
    sys.exit(1 if any(result.level == "fail" for result in results) else 0)


@main.command()
def status() -> None:
    """What runs on this machine, where its logs are, and how the cloud is."""
    from appliance.launcher.summary import print_status

    paths = Paths.from_environment()
    settings = _settings(paths)
    if settings is None:
        raise click.ClickException(f"there is no cloud in {paths.home}; `pileus up` makes one")
    with _failures_explained():
        print_status(paths, settings, CONSOLE)


@main.command()
def doctor() -> None:
    """Look for contradictions between the database, the hosts and the system VMs; change nothing."""
    from appliance.launcher.identity import become
    from mgmt.doctor.__main__ import report, runtime_of
    from mgmt.doctor.examine import examine

    paths = Paths.from_environment()
    settings = _settings(paths)
    if settings is None:
        raise click.ClickException(f"there is no cloud in {paths.home}; `pileus up` makes one")
    become(settings.user)
    findings = examine(runtime_of(paths.home))
    report(findings, CONSOLE)
    sys.exit(1 if findings else 0)


main.add_command(image_group, "image")
main.add_command(backup_command)
main.add_command(restore_command)
main.add_command(api_command)
main.add_command(shell_command)


def _settings(paths: Paths) -> Settings | None:
    try:
        return read_settings(paths)
    except msgspec.ValidationError as error:
        raise click.ClickException(f"{paths.home}/pileus.json: {error}; mend it or remove the file") from None


def _address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise click.BadParameter(f"{text} is not an IPv4 address", param_hint="--api-address") from None


class _failures_explained:  # noqa: N801 (used like a function)
    """Turns a failed step into one paragraph: which, why, what to do; exit code 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, StepFailed):
            return
        CONSOLE.print(f"\n{error}", style="red", markup=False, highlight=False)
        if error.hint:
            CONSOLE.print(f"What to do: {error.hint}", markup=False, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
