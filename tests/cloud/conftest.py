"""One real cloud for the whole ring: `make up` in a namespace machine, an internet beside it, a stock client.

The cloud lives in a network namespace with its own /var/lib/pileus; images come from the machine's cache.
Its public bridge gets a cable to a second namespace, which plays the internet.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.beside import Beside
from tests.cloud.cloud import ROOT, Cloud
from tests.cloud.snapshot_story import snapshot_story
from tests.cloud.stock_clients import cloudmonkey_day, libcloud_day
from tests.cloud.tenant import Tenant
from tests.commands_of import commands_of
from tests.contract.mgmt.api.test_cloudmonkey import Monkey, NotHere, install


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """The cloud, up, with its first VM."""
    with Cloud() as running:
        running.make_up()
        running.plug_internet()
        yield running


@pytest.fixture(autouse=True)
def _inside(cloud: Cloud) -> Iterator[None]:
    """Tests of this ring run inside the cloud's machine, as its operator does."""
    with cloud.machine.entered():
        yield


@pytest.fixture(autouse=True)
def _evidence(request: pytest.FixtureRequest, cloud: Cloud) -> Iterator[None]:
    """After a failure, keep what the daemons and the guests said."""
    yield
    report = getattr(request.node, "report_call", None)
    if report is not None and report.failed:
        print(cloud.evidence())


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let `_evidence` see whether the test failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.report_call = report  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def beside(cloud: Cloud) -> Iterator[Beside]:
    """What runs beside the tests, inside the cloud's machine."""
    made = Beside(cloud.machine)
    yield made
    made.close()


@pytest.fixture(scope="session")
def tenant(cloud: Cloud, beside: Beside, tmp_path_factory: pytest.TempPathFactory) -> Tenant:
    """Two guests in a network, reachable by ssh from the internet; `beside` follows the guide meanwhile."""
    with cloud.machine.entered():
        made = Tenant(cloud, tmp_path_factory.mktemp("tenant"))
        made.build()
        folder = tmp_path_factory.mktemp("guide")
        beside.start("guide", lambda: follow_guide(cloud, folder))
        for name in made.vms:
            made.guest(name).wait()
    return made


@pytest.fixture(scope="session")
def stories(
    cloud: Cloud, tenant: Tenant, beside: Beside, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What takes long and disturbs nobody has begun: a snapshot's way, the days of other stock clients.

    `beside` knows what came of them; the answer says why one has not begun, if so.
    """
    beside.start("snapshot", lambda: snapshot_story(cloud, tenant))
    beside.start("libcloud", lambda: libcloud_day(tenant))
    packages, home = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("monkey")
    try:
        monkey = Monkey(install(packages), packages, home)
    except NotHere as reason:
        return {"cloudmonkey": str(reason)}
    with cloud.machine.entered():
        section = tenant.cloud.credentials
    monkey.configure(section["endpoint"], "", section["key"], section["secret"])
    beside.start("cloudmonkey", lambda: cloudmonkey_day(tenant, monkey))
    return {}


def follow_guide(cloud: Cloud, folder: Path) -> str:
    """Do what docs/getting-started.md says, in an empty folder; what it printed."""
    make, enter, *commands = commands_of("docs/getting-started.md")
    assert (make, enter.split()[0]) == ("make up", "export")
    script = "\n".join(("set -e", f"cd {ROOT}", enter, f"cd {folder}", *commands))
    said = cloud.machine.run("env", "PILEUS_DAEMONS=processes", "bash", "-c", script, timeout=400).stdout
    assert not list(folder.iterdir()), "it leaves nothing behind"
    return said
