"""`pileus backup` and `pileus restore`."""

from pathlib import Path

import click
import msgspec
from rich.console import Console

from appliance.backup.backup import make_backup
from appliance.backup.manifest import BackupRefused
from appliance.backup.restore import Restored, restore
from appliance.launcher.settings import Settings, read_settings
from appliance.paths import Paths
from mgmt.bootstrap import Occupied

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("backup")
@click.argument("file", type=_FILE)
def backup_command(file: Path) -> None:
    """Write all that the management server knows into FILE: database, keys, certificates, settings.

    The server may run meanwhile. Whoever reads FILE can govern the cloud. Disks of VMs are not in it.
    """
    home = Paths.from_environment().home
    try:
        manifest = make_backup(home, file.absolute())
    except (BackupRefused, OSError, msgspec.ValidationError) as error:
        raise click.ClickException(str(error)) from None
    size = sum(item.size for item in manifest.items)
    click.echo(
        f"{file}: the cloud in {home} as of {manifest.created}, {len(manifest.items)} files, {size} bytes"
    )
    click.echo("Keep it where nobody else can read it: it holds the keys of the cloud.")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--force", is_flag=True, help="Replace the cloud that is there; what it was is kept aside.")
@click.option("--database", "url", default="", help="URL of the PostgreSQL database, if it moved.")
def restore_command(file: Path, force: bool, url: str) -> None:
    """Bring back the management state in FILE; the management server must not run."""
    home = Paths.from_environment().home
    try:
        settings = read_settings(Paths.from_environment()) or Settings()
        done = restore(home, file.absolute(), force=force, database_url=url, user=settings.user)
    except (BackupRefused, Occupied, OSError, msgspec.ValidationError) as error:
        raise click.ClickException(str(error)) from None
    _explain(home, done, Console(soft_wrap=True))


def _explain(home: Path, done: Restored, console: Console) -> None:
    say = [f"The cloud in {home} is again as of {done.manifest.created}."]
    if done.kept:
        say.append(f"What was there is kept: {', '.join(map(str, done.kept))}. Remove it once all is well.")
    say += [
        "Next: `pileus up` starts it; jobs that ran when the backup was made go on.",
        "Then `pileus doctor` tells what was made or removed on hosts since the backup.",
    ]
    for line in say:
        console.print(line, markup=False, highlight=False)
