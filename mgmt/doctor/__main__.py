"""`python -m mgmt.doctor --home H`: prints what contradicts; exit code 1 if anything does."""

import sys
from pathlib import Path

import click
from rich.console import Console

from mgmt.agents.tls import Credentials
from mgmt.bootstrap import open_store
from mgmt.doctor.examine import examine
from mgmt.doctor.finding import Finding
from mgmt.drivers.kvm import KvmDriver
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority


def runtime_of(home: Path) -> Runtime:
    """The parts of the cloud in `home` that looking takes; nothing is started."""
    opened = open_store(home)
    authority = Authority(opened.config.pki_dir)
    credentials = Credentials(authority.server_ca, authority.management_file)
    drivers = {"kvm": KvmDriver(credentials)}
    return Runtime(database=opened.database, seal=opened.seal, authority=authority, drivers=drivers)


def report(findings: list[Finding], console: Console) -> None:
    """Print findings with what to do about each."""
    for finding in findings:
        console.print(str(finding), style="red", markup=False, highlight=False)
        console.print(f"    → {finding.repair}", markup=False, highlight=False)
    words = f"{len(findings)} contradictions" if findings else "database, hosts and system VMs agree"
    console.print(words, highlight=False)


@click.command()
@click.option(
    "--home",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="folder of the cloud",
)
def main(home: Path) -> None:
    """Look for contradictions between the database, the hosts and the system VMs; change nothing."""
    findings = examine(runtime_of(home.absolute()))
    report(findings, Console(soft_wrap=True))
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
