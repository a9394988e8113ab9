"""`pileus image …`: build, list and prune images."""

import time

import click
from rich.console import Console
from rich.table import Table

from images import catalog
from images.builder import recipe as recipes
from images.builder.errors import ImageError

_MIB = 1024**2


@click.group("image")
def image_group() -> None:
    """Build images and look at the local catalog."""


@image_group.command("build")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option("--refresh", is_flag=True, help="Ask the mirror for new package lists first.")
def build_command(names: tuple[str, ...], refresh: bool) -> None:
    """Build the images NAME…, unless their inputs are unchanged; publish each after it booted."""
    from images.builder import build
    from images.builder.progress import OnConsole

    console = Console()
    for name in names:
        begun = time.monotonic()
        try:
            image = build(name, OnConsole(console), refresh=refresh)
        except ImageError as error:
            raise click.ClickException(str(error)) from None
        console.print(f"[bold]{name}[/] is {image.folder} ({time.monotonic() - begun:.1f} s)", soft_wrap=True)


@image_group.command("list")
def list_command() -> None:
    """Show recipes and what of them is published."""
    table = Table("name", "input hash", "current", "qcow2 MiB", "kernel", "packages", box=None)
    published = catalog.images()
    for image in published:
        manifest = image.manifest()
        size = manifest.files["disk.qcow2"].size / _MIB
        mark = "yes" if catalog.is_current(image) else ""
        count = str(len(manifest.packages))
        table.add_row(image.name, image.input_hash, mark, f"{size:.1f}", manifest.kernel_version, count)
    for name in sorted(set(recipes.names()) - {image.name for image in published}):
        table.add_row(name, "not built", "", "", "", "")
    Console().print(table)


@image_group.command("prune")
@click.argument("name")
def prune_command(name: str) -> None:
    """Delete every image NAME from the catalog but the current one."""
    try:
        gone = catalog.prune(name)
    except ImageError as error:
        raise click.ClickException(str(error)) from None
    for image in gone:
        click.echo(f"deleted {image.folder}")
