"""The tiny guest's own scripts, run by busybox in a root of the role's files, against real DHCP and HTTP."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from images.builder.debian import Archive
from systemvm.engine import command
from tests.metadata_router import Instance, serving
from tests.netns.topology import Machine, Topology, eventually

pytestmark = pytest.mark.netns

FILES = Path("playbooks/roles/tiny_guest/files/root").resolve()
#: Of the packages the image is made of: what its scripts need, and nothing of this machine.
PROGRAMS = {
    "busybox": ("usr/bin/busybox",),
    "libc6": tuple(
        f"usr/lib/x86_64-linux-gnu/{name}" for name in ("ld-linux-x86-64.so.2", "libc.so.6", "libresolv.so.2")
    ),
}
ROUTER, DATA_SERVER, GUEST = "10.1.1.1", "10.1.1.2", "10.1.1.50"
KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0vYdRYSgM6Xr0t1v6mRJ3oXbYlW8pJr0wqv1q3K9Zx first "user" \\o/'
SCRIPT = b"#!/bin/sh\necho ran >> /var/log/ran\nexit 3\n"


class Guest:
    """A root folder with the role's files and busybox, in a machine with one NIC."""

    def __init__(self, root: Path, programs: Path, machine: Machine) -> None:
        self.root, self.machine = root, machine
        shutil.copytree(FILES, root, dirs_exist_ok=True)
        shutil.copytree(programs, root, dirs_exist_ok=True, symlinks=True)
        for name in ("dev", "proc", "sys", "run", "tmp", "home/tiny", "root", "var/log", "var/lib"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "etc/shadow").write_text("root:!:1::::::\ntiny:!:1::::::\n")
        (root / "etc/hostname").write_text("tiny\n")
        (root / "etc/resolv.conf").symlink_to("/run/resolv.conf")
        for name, minor in (("null", 3), ("urandom", 9)):
            os.mknod(root / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        machine.run("chroot", str(root), "/usr/bin/busybox", "--install", "-s")
        machine.run("mount", "-t", "proc", "proc", str(root / "proc"))
        machine.run("mount", "-t", "sysfs", "sysfs", str(root / "sys"))
        self.patience = 20

    def boot(self) -> dict[str, Any]:
        """What /etc/inittab does about the network, then the status page."""
        script = (
            "rm -rf /run/pileus-tiny; mkdir -p /run/pileus-tiny/leases /run/pileus-tiny/www;"
            ": > /run/resolv.conf;"
            "cd /usr/lib/pileus-tiny; hostname -F /etc/hostname; ./nic eth0; ./metadata; wait;"
            "cat /run/pileus-tiny/www/status"
        )
        argv = ["env", f"PATIENCE={self.patience}", "unshare", "--uts", "chroot", str(self.root)]
        done = self.machine.run(*argv, "/bin/sh", "-c", script, timeout=60)
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def shutdown(self) -> None:
        """End the DHCP client: the next boot starts its own."""
        pid = int((self.root / "run/pileus-tiny/udhcpc.eth0.pid").read_text())
        self.machine.run("kill", str(pid))
        eventually(lambda: pid not in self.machine.pids(), "the DHCP client ends")

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def address(self) -> str:
        return self.machine.run("ip", "-4", "-o", "addr", "show", "dev", "eth0").stdout


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the image's busybox and C library, in a merged /usr."""
    folder = tmp_path_factory.mktemp("programs")
    root = folder / "root"
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    # The program names its loader by the path /lib64.
    (root / "usr/lib64/ld-linux-x86-64.so.2").symlink_to("../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    for package, deb in Archive("trixie").fetch(tuple(PROGRAMS)).items():
        command.run(("dpkg-deb", "--extract", str(deb), str(folder / package)))
        for path in PROGRAMS[package]:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / package / path, root / path)
    return root


@pytest.fixture
def router(lab: Topology) -> Machine:
    made = lab.machine("router")
    return made


@pytest.fixture
def guest(lab: Topology, router: Machine, programs: Path, tmp_path: Path) -> Guest:
    machine = lab.machine("guest")
    lab.wire(router, "eth0", machine, "eth0")
    for address in (ROUTER, DATA_SERVER):
        router.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
    return Guest(tmp_path / "root", programs, machine)


def start_dhcp(router: Machine, *options: str) -> None:
    router.start(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv"),
        *("--interface=eth0", "--bind-interfaces", "--leasefile-ro", "--user=root", "--pid-file="),
        *(f"--dhcp-range={GUEST},{GUEST},255.255.255.0", "--dhcp-authoritative", *options),
    )


def digest_matches(status: dict[str, Any], password: str) -> bool:
    salt, _, digest = status["password_salt_sha256"].partition(" ")
    return hashlib.sha256((salt + password).encode()).hexdigest() == str(digest)


def shadow_hash(guest: Guest, user: str) -> str:
    lines = dict(line.split(":")[:2] for line in guest.text("etc/shadow").splitlines())
    return str(lines[user])


def crypt(password: str, like: str) -> str:
    salt = like.split("$")[2]
    argv = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    return subprocess.run(argv, input=password, capture_output=True, text=True, check=True).stdout.strip()


def everywhere(guest: Guest, secret: str) -> list[Path]:
    files = [path for path in guest.root.rglob("*") if path.is_file() and not path.is_symlink()]
    mine = [path for path in files if path.relative_to(guest.root).parts[0] not in ("proc", "sys", "dev")]
    return [path for path in mine if secret.encode() in path.read_bytes()]


def test_guest_receives_everything_once(router: Machine, guest: Guest) -> None:
    start_dhcp(
        router,
        *("--dhcp-option=option:mtu,1400", "--domain=cs1.example", "--dhcp-option=option:router,10.1.1.1"),
        f"--address=/data-server/{DATA_SERVER}",
    )
    instance = Instance(
        {"instance-id": "i-1-VM", "local-hostname": "web-1", "public-keys": KEY, "vm-id": "7"},
        user_data=SCRIPT,
        password="Xk4 s&$'\"wörd",
    )
    with router.entered(), serving(instance, DATA_SERVER):
        status = guest.boot()
        assert status["hostname"] == "web-1"
        assert status["addresses"] == {"eth0": f"{GUEST}/24"}
        assert status["metadata"] == "done"
        assert status["metadata_server"] == "data-server"
        assert status["instance_id"] == "i-1-VM"
        assert status["ssh_keys"] == [KEY]
        assert status["user_data_sha256"] == hashlib.sha256(SCRIPT).hexdigest()
        assert status["user_data_exit"] == 3
        assert status["password_received"] is True
        assert digest_matches(status, "Xk4 s&$'\"wörd")
        assert guest.text("run/pileus-tiny/www/index.txt") == "web-1\n"
        assert guest.text("root/.ssh/authorized_keys") == guest.text("home/tiny/.ssh/authorized_keys")
        for user in ("root", "tiny"):
            assert shadow_hash(guest, user) == crypt("Xk4 s&$'\"wörd", shadow_hash(guest, user))
        assert everywhere(guest, "Xk4 s&") == []
        assert instance.asked[-1] == "/latest/user-data"
        assert instance.asked.count("saved_password") == 1
        assert f"inet {GUEST}/24" in guest.address()
        assert "mtu 1400" in guest.machine.run("ip", "link", "show", "dev", "eth0").stdout
        assert "search cs1.example" in guest.text("run/resolv.conf")
        assert "default via 10.1.1.1" in guest.machine.run("ip", "route").stdout

        guest.shutdown()
        before = shadow_hash(guest, "root")
        status = guest.boot()
        assert status["password_received"] is False, "the password was given out once"
        assert shadow_hash(guest, "root") == before, "and stays"
        assert guest.text("var/log/ran") == "ran\n", "user data runs once per instance"

        guest.shutdown()
        instance.metadata["instance-id"] = "i-2-VM"
        guest.boot()
        assert guest.text("var/log/ran") == "ran\nran\n", "another instance runs it again"


def test_dhcp_server_is_asked_where_no_data_server_has_a_name(router: Machine, guest: Guest) -> None:
    routes = "--dhcp-option=121,192.0.2.0/24,10.1.1.9,0.0.0.0/0,10.1.1.1"
    start_dhcp(router, routes, "--port=0")
    with router.entered(), serving(Instance({"instance-id": "i-1-VM"}), ROUTER):
        status = guest.boot()
    assert status["metadata_server"] == ROUTER
    assert status["hostname"] == "tiny"
    table = guest.machine.run("ip", "route").stdout
    assert "default via 10.1.1.1" in table
    assert "192.0.2.0/24 via 10.1.1.9" in table


def test_hostile_answers_are_data(router: Machine, guest: Guest) -> None:
    start_dhcp(router, "--dhcp-option=12,$(touch /owned)", "--dhcp-option=15,x;touch /owned", "--port=0")
    instance = Instance(
        {
            "instance-id": "i-1-VM",
            "local-hostname": "$(touch /owned)",
            "public-keys": f'command="touch /owned" {KEY}\nnot a key\n{KEY}',
            "../../../../owned": "x",
            ".hidden": "x",
        },
        index="instance-id\nlocal-hostname\npublic-keys\n../../../../owned\n.hidden\n`touch /owned`\n",
        user_data=b"#cloud-config\nruncmd: [touch /owned]\n",
        password="bad_request",
    )
    with router.entered(), serving(instance, ROUTER):
        status = guest.boot()
    assert status["metadata"] == "done"
    assert not list(guest.root.rglob("*owned*"))
    assert not (guest.root / "run/pileus-tiny/meta-data/.hidden").exists()
    assert is_plain(status["hostname"])
    assert status["ssh_keys"] == [KEY]
    assert status["user_data_exit"] is None
    assert shadow_hash(guest, "root") == "!"
    assert status["password_received"] is False


def test_an_instance_id_that_is_a_path_is_nobodys(router: Machine, guest: Guest) -> None:
    start_dhcp(router, "--port=0")
    guest.patience = 2
    with router.entered(), serving(Instance({"instance-id": "../../etc/passwd"}, user_data=SCRIPT), ROUTER):
        status = guest.boot()
    assert status["metadata"] == "none"
    assert "user_data_sha256" not in status


def test_guest_goes_on_without_a_router(guest: Guest) -> None:
    guest.patience = 2
    status = guest.boot()
    assert status["metadata"] == "none"
    assert status["addresses"] == {}
    assert status["hostname"] == "tiny"


def is_plain(name: str) -> bool:
    return bool(name) and all(letter.isalnum() or letter in ".-" for letter in name)
