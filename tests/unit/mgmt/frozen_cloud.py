"""A small cloud as it is at one moment, had again as often as wanted: far cheaper than making it anew."""

import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tests.unit.mgmt.small_cloud import DATABASE, KEYS, SmallCloud, open_cloud


class NewDatabase(Protocol):
    """Gives the URL of a copy of the database `like`, or, given none, of one with tables and no rows.

    Empty if it is to be an SQLite file in the test's own folder.
    """

    def __call__(self, like: str = "") -> str: ...


@dataclass(frozen=True)
class FrozenCloud:
    """What it takes to have it again. `url`: its database's if that is no file; `cloud` has the rows' ids."""

    files: dict[str, bytes]
    simulated: bytes
    cloud: SmallCloud
    url: str

    def thaw(self, folder: Path, url: str = "") -> SmallCloud:
        """An own copy below `folder`. `url` is a copy of the cloud's database, if that was no file."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(0o600)
            path.write_bytes(content)
        clock, hosts, machines, faults = pickle.loads(self.simulated)  # noqa: S301
        opened = open_cloud(folder, url, clock)
        simulator = opened.simulator
        simulator.hosts, simulator.machines = hosts, machines
        for fault in faults:
            simulator.faults.plan(fault)
        return replace(self.cloud, runtime=opened.runtime, simulator=simulator, clock=clock, said=[])


def freeze(cloud: SmallCloud, folder: Path) -> FrozenCloud:
    """The cloud below `folder`, which is closed by this."""
    cloud.runtime.database.close()
    engine = cloud.runtime.database.engine
    url = "" if engine.name == "sqlite" else engine.url.render_as_string(hide_password=False)
    paths = [*([] if url else [folder / DATABASE]), *sorted((folder / KEYS).rglob("*"))]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}
    simulator = cloud.simulator
    faults = list(simulator.faults._planned.values())
    state = (cloud.clock, simulator.hosts, simulator.machines, faults)
    return FrozenCloud(files, pickle.dumps(state), cloud, url)
