"""What once let people through in Apache CloudStack, tried here: one test for each cause, by its CVE.

Each is short, through the API of a cloud in which alice has a VM; what goes deeper is named where it is:
the matrix (all commands × all ids), `test_rank`, `test_sessions`, `tests/contract/mgmt/test_canaries.py`,
and `tests/netns/systemvm/services/storage`, where real downloads are redirected.
"""

import json
import logging
import random
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from mgmt.api.reference.examples import all_stories
from mgmt.api.registry import REGISTRY
from mgmt.api.testing import Client, open_api
from mgmt.api.throttle import MOST_FAILURES
from mgmt.drivers.simulator import Simulator
from mgmt.store.tables import Job, User, Vm
from systemvm.engine.fetch import AddressRefused, Fetcher, FetchFailed
from systemvm.engine.image_header import ImageRefused, inspect_image
from tests.unit.mgmt.api.reference.storyteller import Storyteller
from tests.unit.systemvm.engine.test_image_header import qcow2

pytestmark = pytest.mark.unit

#: The last of the stories that are told: alice has a network and a VM then.
LAST_STORY = "A network and its virtual machines"
TOKEN_CHARACTERS = 43


class Town(Storyteller):
    """The cloud after the first stories, with a domain administrator `boss` and another tenant `mallory`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for story in all_stories():
            self.tell(story)
            if story.title == LAST_STORY:
                break
        for name, kind in (("boss", 2), ("mallory", 0)):
            self.clients[name] = self.api.account(name, kind=kind, domain="/store/")
        self.clients["chief"] = self.api.account("chief", kind=1, domain="/store/")

    def id(self, name: str) -> str:
        """The id of what a story kept."""
        return self._value(name)

    def user(self, name: str) -> str:
        """The id of a user."""
        with self.api.context.database.reading() as session:
            return session.scalars(select(User.id).where(User.username == name)).one()

    def domain_of(self, vm_id: str) -> dict[str, Any]:
        """What the host was told of a VM; tickets for templates, in the volumes, are new each time."""
        found = next(host.domains[vm_id] for host in self.simulator().hosts.values() if vm_id in host.domains)
        document: dict[str, Any] = msgspec.to_builtins(found)
        document.pop("volumes")
        return document

    def restart(self) -> None:
        """alice's VM, stopped or not, is started anew: its host is told everything again."""
        alice = self.clients["alice"]
        alice("stopVirtualMachine", id=self.id("vm"))
        alice.get("startVirtualMachine", id=self.id("vm"))

    def simulator(self) -> Simulator:
        """The hosts."""
        driver = self.runtime.drivers["simulator"]
        assert isinstance(driver, Simulator)
        return driver


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Iterator[Town]:
    with open_api(tmp_path_factory.mktemp("town"), like=fresh_store) as api:
        yield Town(api)


@pytest.fixture
def mallory(town: Town) -> Client:
    return town.clients["mallory"]


@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        ("listVirtualMachines", {"id": "{vm}"}),
        ("listNetworks", {"id": "{network}"}),
        ("listNics", {"virtualmachineid": "{vm}"}),
        ("getVirtualMachineUserData", {"virtualmachineid": "{vm}"}),
        ("createConsoleEndpoint", {"virtualmachineid": "{vm}"}),
        ("resetPasswordForVirtualMachine", {"id": "{vm}"}),
        ("addAnnotation", {"entitytype": "VM", "entityid": "{vm}", "annotation": "x"}),
        ("createTags", {"resourcetype": "UserVm", "resourceids": "{vm}", "tags[0].key": "a"}),
        ("linkUserDataToTemplate", {"templateid": "{template}", "userdataid": "{userdata}"}),
        ("updateTemplatePermissions", {"id": "{template}", "ispublic": "false"}),
        ("listTemplatePermissions", {"id": "{template}"}),
        ("listVirtualMachines", {"account": "alice", "domainid": "{domain}"}),
    ],
)  # fmt: skip
def test_missing_object_authorization(
    town: Town, mallory: Client, command: str, parameters: dict[str, str]
) -> None:
    """CVE-2014-0031, CVE-2024-42222, CVE-2025-22828, CVE-2025-30675: ids of others in single commands."""
    answer = mallory(command, **{name: town._fill(value) for name, value in parameters.items()})
    assert answer.status == 531, answer.body
    assert "Web server" not in str(answer.body)


def test_keys_of_another_user(town: Town, mallory: Client) -> None:
    """CVE-2016-6813: an id of a user is enough to make keys for him."""
    for command in ("registerUserKeys", "getUserKeys"):
        assert mallory(command, id=town.user("alice")).status == 531
    assert town.clients["alice"]("listVirtualMachines").status == 200, "her keys are as they were"


@pytest.mark.parametrize("victim", ["admin", "chief"])
@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        ("updateUser", {"password": "Correct-horse-1"}),
        ("registerUserKeys", {}),
        ("getUserKeys", {}),
        ("disableUser", {}),
        ("deleteUser", {}),
        ("setupUserTwoFactorAuthentication", {"enable": False}),
    ],
)
def test_rank_escalation_among_administrators(
    town: Town, victim: str, command: str, parameters: dict[str, object]
) -> None:
    """CVE-2025-47713, CVE-2025-47849, CVE-2024-42062: root administrators, also in the caller's domain."""
    key = "userid" if command.startswith("setup") else "id"
    answer = town.clients["boss"](command, **parameters, **{key: town.user(victim)})
    assert answer.status == 531, answer.body
    assert town.clients[victim]("listZones").status == 200


def test_a_domain_administrator_makes_no_root_administrators(town: Town) -> None:
    """The same by another way: an account of the higher type, or with the role of it."""
    boss, root = (
        town.clients["boss"],
        town.clients["admin"].get("listRoles", name="Root Admin")["role"][0]["id"],
    )
    person = {"firstname": "E", "lastname": "E", "email": "e@example.com", "password": "Correct-horse-1"}
    assert boss("createAccount", username="eve", accounttype=1, **person).status in (431, 531)
    assert boss("createAccount", username="eve", roleid=root, **person).status in (431, 531)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (qcow2(backing=0x70), "backing"),
        (qcow2(features=1 << 2), "data in another file"),
        (qcow2(extensions=struct.pack(">II", 0x44415441, 8) + b"/etc/pwd" + bytes(8)), "external data file"),
        (b"# Disk DescriptorFile\nRW 1 FLAT \"/etc/passwd\" 0\n".ljust(1 << 16, b"\0"), "declared as qcow2"),
    ],
)  # fmt: skip
def test_a_template_with_a_backing_or_data_file(tmp_path: Path, image: bytes, words: str) -> None:
    """CVE-2024-45219, CVE-2024-50386: files of the host or of other tenants, named inside of an image."""
    path = tmp_path / "image"
    path.write_bytes(image)
    with pytest.raises(ImageRefused, match=words):
        inspect_image(path, "qcow2", 1 << 40)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.com/x", "http://u:p@example.com/x", "nfs://x/y"]
)
def test_what_is_no_url_to_download_from(town: Town, mallory: Client, url: str) -> None:
    """CVE-2024-29007, as far as the API sees it."""
    image = {"name": "x", "displaytext": "x", "zoneid": town.id("zone"), "url": url}
    assert mallory("registerTemplate", format="QCOW2", hypervisor="KVM", **image).status == 431
    assert mallory("registerIso", **image).status == 431


def test_downloads_and_redirects_into_the_clouds_own_networks(town: Town, mallory: Client) -> None:
    """CVE-2024-29007: the storage VM is told of no private network for a tenant, and judges every hop."""
    inside = "http://172.31.240.66/x.qcow2"
    image = {"name": "probe", "displaytext": "x", "zoneid": town.id("zone"), "url": inside}
    mallory.get("registerTemplate", format="QCOW2", hypervisor="KVM", **image)
    town.rounds()
    documents = [machine.state for machine in town.simulator().machines.values()]
    stores = [state.storage for state in documents if state is not None and state.storage]
    assert any(source.url == inside for store in stores for source in store.templates)
    assert not any("172.31.240.66" in network for store in stores for network in store.allowed_networks)
    for address in ("172.31.240.66", "169.254.169.254", "127.0.0.1", "10.1.1.1"):
        hop = Fetcher(resolve=lambda host, port, found=address: [found])  # type: ignore[misc]
        with pytest.raises((AddressRefused, FetchFailed)):
            hop.judge("http://images.example/x.qcow2")


def test_the_race_for_a_quota(town: Town, mallory: Client) -> None:
    """CVE-2025-69233: many calls at once check the limit before any of them is counted."""
    admin = town.clients["admin"]
    admin.get("updateResourceLimit", account="mallory", domainid=town.id("domain"), resourcetype=6, max=2)
    place = {"zoneid": town.id("zone"), "networkofferingid": town.id("isolated")}
    found: list[int] = []

    def create(number: int) -> None:
        found.append(mallory("createNetwork", name=f"n{number}", **place).status)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200] * 2 + [532] * 6


def test_cleartext_secrets_in_jobs(town: Town) -> None:
    """A VM's password: sealed in its row, in no job, and told to nobody but who asked for it."""
    alice, admin = town.clients["alice"], town.clients["admin"]
    alice("stopVirtualMachine", id=town.id("vm"))
    job = alice.get("resetPasswordForVirtualMachine", id=town.id("vm"))["jobid"]
    password = alice.get("queryAsyncJobResult", jobid=job)["jobresult"]["virtualmachine"]["password"]
    assert password not in json.dumps(admin.get("queryAsyncJobResult", jobid=job))
    assert town.clients["mallory"]("queryAsyncJobResult", jobid=job).status in (431, 531)
    with town.api.context.database.reading() as session:
        rows = [session.get_one(Job, job), session.get_one(Vm, town.id("vm"))]
        assert password not in repr([vars(row) for row in rows])


def test_secrets_of_refused_calls_in_logs(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """apache/cloudstack issue 13311: parameters sent twice were logged before anybody had logged in."""
    caplog.set_level(logging.DEBUG)
    sent = "command=login&username=admin&password=hunter-one&password=hunter-two&response=json"
    browser, form = town.api.app.test_client(), "application/x-www-form-urlencoded"
    answer = browser.post("/client/api", data=sent, content_type=form)
    assert answer.status_code == 400
    assert "hunter" not in caplog.text + answer.text + str(answer.headers)


def test_trusted_x_forwarded_for(town: Town) -> None:
    """CVE-2024-29006: who guesses passwords gives himself a new address with each guess."""
    form = {"command": "login", "username": "nobody-here", "password": "x", "response": "json"}
    codes = []
    for at in range(MOST_FAILURES + 1):
        headers = {"X-Forwarded-For": f"198.51.100.{at}", "X-Real-IP": f"192.0.2.{at}"}
        codes.append(town.api.app.test_client().post("/client/api", data=form, headers=headers).status_code)
    assert codes == [531] * MOST_FAILURES + [429]


def test_predictable_tokens(town: Town, mallory: Client) -> None:
    """CVE-2022-26779: tokens of a seeded generator. And an invitation here needs no token to be stolen."""
    found = []
    for _ in range(2):
        random.seed(1)
        keys = town.clients["admin"].get("registerUserKeys", id=town.user("bob"))["userkeys"]
        found += [keys["apikey"], keys["secretkey"]]
    assert len(set(found)) == 4
    assert all(len(token) >= TOKEN_CHARACTERS for token in found)
    invitation = REGISTRY.find("updateProjectInvitation")
    assert invitation is not None
    assert "token" not in {item.name for item in invitation.parameters}


def test_user_editable_internal_details(town: Town) -> None:
    """CVE-2024-29008: details of a VM that reach the hypervisor (extraconfig)."""
    alice = town.clients["alice"]
    town.restart()
    before = town.domain_of(town.id("vm"))
    evil = {
        f"details[0].{name}": "<hostdev/>"
        for name in ("extraconfig-1", "kvm.vnc.address", "rootDiskController")
    }
    alice("updateVirtualMachine", id=town.id("vm"), **evil)
    town.restart()
    assert town.domain_of(town.id("vm")) == before
