"""A template by URL: downloaded by the storage VM, checked, deployed; bad ones are refused."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.cloud import INTERNET, Cloud, download
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud
PORT = 8055
LIBRARY = f"http://{INTERNET}:{PORT}"


@pytest.fixture(scope="module")
def library(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A web server on the internet with images."""
    folder = tmp_path_factory.mktemp("library")
    cache = Path(os.environ.get("PILEUS_CACHE", "/var/cache/pileus"))
    image = cache / "images/tiny/current/disk.qcow2"
    (folder / "good.qcow2").write_bytes(image.read_bytes())
    subprocess.run(
        [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            "/etc/shadow",
            folder / "evil.qcow2",
            "1M",
        ],
        check=True,
    )
    server = cloud.internet.start("python3", "-m", "http.server", str(PORT), "--directory", str(folder))
    yield folder
    server.terminate()
    server.communicate()


def wait_for(tenant: Tenant, template: dict[str, Any], words: str) -> dict[str, Any]:
    eventually(lambda: words in tenant.found(template)["status"], f"{template['name']}: {words}", 120)
    return tenant.found(template)


def test_template_by_url_is_deployed(cloud: Cloud, tenant: Tenant, library: Path) -> None:
    digest = hashlib.sha256((library / "good.qcow2").read_bytes()).hexdigest()
    template = tenant.register("good", f"{LIBRARY}/good.qcow2", checksum=f"{{SHA-256}}{digest}")
    ready = wait_for(tenant, template, "Download Complete")
    assert ready["isready"] is True
    job = cloud.api.extractTemplate(id=template["id"], zoneid=tenant.zone["id"], mode="HTTP_DOWNLOAD")
    download(cloud, cloud.job(job)["url"], library / "out.qcow2")
    assert hashlib.sha256((library / "out.qcow2").read_bytes()).hexdigest() == digest
    vm = cloud.job(tenant.deploy("from-url", templateid=template["id"], keypair=None, userdata=None))
    eventually(
        lambda: tenant.guest("web1").ssh(
            f"wget -q -T 5 -O - http://{vm['nic'][0]['ipaddress']}/", check=False
        ).stdout.strip() == "from-url",
        "the deployed guest answers with its name",
        120,
    )  # fmt: skip
    cloud.job(cloud.api.destroyVirtualMachine(id=vm["id"], expunge=True))


@pytest.mark.parametrize(
    ("name", "file", "more", "words"),
    [
        ("wrong-checksum", "good.qcow2", {"checksum": "sha256:" + "0" * 64}, "expected 000"),
        ("backing-file", "evil.qcow2", {}, "backing"),
        ("missing", "nothing.qcow2", {}, "404"),
    ],
)
def test_bad_templates_fail_with_the_reason(
    cloud: Cloud, tenant: Tenant, library: Path, name: str, file: str, more: dict[str, str], words: str
) -> None:
    template = tenant.register(name, f"{LIBRARY}/{file}", **more)
    failed = wait_for(tenant, template, "failed")
    assert words in failed["status"].lower()
    assert failed["isready"] is False
    cloud.job(cloud.api.deleteTemplate(id=template["id"]))
