"""One real cloud for the whole ring: `make up` in a namespace machine, an internet beside it, a stock client.

The cloud lives in a network namespace with its own /var/lib/pileus; images come from the machine's cache.
Its public bridge gets a cable to a second namespace, which plays the internet.
"""

from collections.abc import Iterator

import pytest

from tests.cloud.cloud import Cloud
from tests.cloud.tenant import Tenant


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
def tenant(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Tenant:
    """Two guests in a network, reachable by ssh from the internet."""
    with cloud.machine.entered():
        made = Tenant(cloud, tmp_path_factory.mktemp("tenant"))
        made.build()
        for name in made.vms:
            made.guest(name).wait()
    return made
