"""What the documents say to type, typed: on the simulator, so without what needs a guest that answers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cs import CloudStack

from tests.commands_of import ROOT, commands_of
from tests.mgmt_server import build_zone, eventually, ready_template, run_server

pytestmark = pytest.mark.contract

DOCUMENTS = [
    f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md")) if "```sh" in file.read_text()
]
#: Of a real machine and its guests; the cloud ring types these too.
REAL = ("make ", "export ", "pileus status", "until ssh ")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStack]:
    with run_server(tmp_path_factory.mktemp("documents")) as server:
        api = server.client()
        zone = build_zone(api)
        eventually(lambda: len(api.listSystemVms(state="Running").get("systemvm", [])) == 2)
        template = ready_template(api, zone)
        api.updateTemplatePermissions(id=template, ispublic=True, isfeatured=True)
        yield api


def type_all(cloud: CloudStack, commands: list[str], folder: Path) -> str:
    """Run commands in one shell until one fails; what they said."""
    keys = {"ENDPOINT": cloud.endpoint, "KEY": cloud.key, "SECRET": cloud.secret}
    environment = {
        **os.environ,
        **{f"CLOUDSTACK_{name}": value for name, value in keys.items()},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-euxc", "\n".join(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_run_as_they_are_written(cloud: CloudStack, document: str, tmp_path: Path) -> None:
    commands = commands_of(document)
    said = type_all(cloud, [line for line in commands if not line.startswith(REAL)], tmp_path)
    assert said
    assert not list(tmp_path.iterdir()), "they clean up"
    left = [vm["name"] for vm in cloud.listVirtualMachines(listall=True).get("virtualmachine", [])]
    assert not left


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    missing = [file.name for file in sorted((ROOT / "docs").glob("*.md")) if f"({file.name})" not in index]
    assert missing == ["README.md"]
