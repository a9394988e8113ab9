"""The cloud under test: how it is brought up, how its API is called, how its guests are reached."""

import os
import shlex
import signal
import subprocess
import tempfile
import time
from configparser import ConfigParser, SectionProxy
from pathlib import Path
from types import TracebackType
from typing import Any

from cs import CloudStack

from appliance.launcher.up import IMAGES
from images import builder
from images.builder.progress import Quiet
from mgmt.pki.authority import Authority
from systemvm.engine.processes import Processes
from tests.netns.topology import Machine, Topology, eventually
from tests.processes import signal_tree

ROOT = Path(__file__).parents[2]
HOME = Path("/var/lib/pileus")
PUBLIC_BRIDGE = "pileus-public"
#: The internet's address, in the public network but outside of the range that the cloud hands out.
INTERNET = "172.31.241.240"
#: An interface of the machine that leads out, for `make up UPLINK=…`, and who is behind it (RFC 5737).
UPLINK = "out0"
UPLINK_ADDRESS, OUTSIDE = "198.51.100.1", "198.51.100.2"
UP_TIMEOUT = 1500
JOB_TIMEOUT = 300


class Cloud:
    """A machine with a cloud in it, and the internet."""

    def __init__(self) -> None:
        self._lab = Topology()
        self.machine: Machine = self._lab.machine("cloud")
        self.internet: Machine = self._lab.machine("internet")
        self.up_output = ""
        # On a disk: the machine's own /var/lib/pileus is memory, and too small for what volumes promise.
        self._home = tempfile.TemporaryDirectory(prefix="pileus-cloud-", dir="/var/tmp")
        Path(self._home.name).chmod(0o755)
        self.machine.run("mount", "--bind", self._home.name, str(HOME))

    def __enter__(self) -> "Cloud":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.make("down", check=False)
        self._lab.close()
        self._home.cleanup()

    def make(self, *target: str, check: bool = True, timeout: float = UP_TIMEOUT) -> str:
        """Run a README command in the machine; returns what it printed."""
        done = self.machine.run(
            "env", "PILEUS_DAEMONS=processes", "make", "--no-print-directory", "-C", str(ROOT), *target,
            check=False, timeout=timeout,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert not check or done.returncode == 0, output
        return output

    def make_up(self) -> None:
        """`make up`, the first time. Images are built outside: the cloud's machine has no way out."""
        for name in IMAGES:
            builder.build(name, Quiet())
        self.up_output = self.make("up")

    code = str(ROOT)

    def kill_daemon(self, name: str) -> int:
        """Kill a daemon and its children at once; its process id. Nobody is asked to start another one."""
        with self.machine.entered():
            killed = Processes(HOME / "run/daemons").pid(name)
            assert killed is not None, f"{name} does not run"
            signal_tree(killed, signal.SIGKILL)
        return killed

    def daemon_pid(self, name: str) -> int | None:
        """The process of a daemon, None while it does not run."""
        with self.machine.entered():
            return Processes(HOME / "run/daemons").pid(name)

    def virsh(self, *words: str) -> None:
        """What an operator types on the host."""
        socket = HOME / "libvirt/run/libvirt-sock"
        self.machine.run("virsh", "-q", "-c", f"qemu+unix:///system?socket={socket}", *words)

    def doctor(self) -> subprocess.CompletedProcess[str]:
        """`pileus doctor`."""
        return self.machine.run(str(ROOT / ".venv/bin/pileus"), "doctor", check=False, timeout=120)

    def until_healthy(self, seconds: float = 60) -> str:
        """Wait until the doctor finds nothing; what it says then."""
        said = ""

        def agrees() -> bool:
            nonlocal said
            done = self.doctor()
            said = done.stdout + done.stderr
            return done.returncode == 0

        try:
            eventually(agrees, "the doctor finds nothing", seconds)
        except AssertionError as error:
            raise AssertionError(said) from error
        return said

    def stop_daemon(self, name: str) -> None:
        """End one daemon, as a crash would, by its recorded process id."""
        with self.machine.entered():
            Processes(HOME / "run/daemons").stop(name)

    def plug_internet(self) -> None:
        """A cable from the public bridge to the internet."""
        self._lab.wire(self.machine, "inet0", self.internet, "eth0")
        self.machine.run("ip", "link", "set", "inet0", "master", PUBLIC_BRIDGE, "up")
        self.internet.run("ip", "addr", "add", f"{INTERNET}/24", "dev", "eth0")
        self.internet.run("ip", "link", "set", "eth0", "up")

    def plug_outside(self) -> Machine:
        """A network beside the cloud's machine, which has its default route there; the cloud has none."""
        outside = self._lab.machine("outside")
        self._lab.wire(self.machine, UPLINK, outside, "eth0")
        self.machine.run("ip", "addr", "add", f"{UPLINK_ADDRESS}/24", "dev", UPLINK)
        outside.run("ip", "addr", "add", f"{OUTSIDE}/24", "dev", "eth0")
        self.machine.run("ip", "route", "add", "default", "via", OUTSIDE)
        return outside

    def unplug_outside(self) -> None:
        """Take the cable of `plug_outside` away, its addresses and routes with it."""
        self.machine.run("ip", "link", "del", UPLINK)

    @property
    def credentials(self) -> SectionProxy:
        """Endpoint and admin's keys, as `make up` wrote them for clients."""
        parser = ConfigParser(interpolation=None)
        parser.read(HOME / "cloudstack.ini")
        return parser["cloudstack"]

    @property
    def api(self) -> CloudStack:
        """The stock client, with admin's keys."""
        section = self.credentials
        return CloudStack(
            endpoint=section["endpoint"],
            key=section["key"],
            secret=section["secret"],
            timeout=30,
            poll_interval=0.5,
        )

    def job(self, started: dict[str, Any]) -> dict[str, Any]:
        """Wait for a job; returns the one object in its result."""
        job = self.ended(started)
        result: dict[str, Any] = job["jobresult"]
        assert job["jobstatus"] == 1, result["errortext"]
        return next(iter(result.values())) if len(result) == 1 and "success" not in result else result

    def ended(self, started: dict[str, Any]) -> dict[str, Any]:
        """Wait for a job; the job, however it ended."""
        until = time.monotonic() + JOB_TIMEOUT
        while time.monotonic() < until:
            job: dict[str, Any] = self.api.queryAsyncJobResult(jobid=started["jobid"])
            if job["jobstatus"] != 0:
                return job
            time.sleep(0.3)
        raise AssertionError(f"job {started['jobid']} took more than {JOB_TIMEOUT} s")

    def one(self, command: str, entity: str, **filters: Any) -> dict[str, Any]:
        """The one entity that a list finds."""
        found = getattr(self.api, command)(**filters).get(entity, [])
        assert len(found) == 1, found
        first: dict[str, Any] = found[0]
        return first

    def evidence(self) -> str:
        """Last words of daemons and guests."""
        home = Path(self._home.name)  # as it is known outside of the cloud's machine
        files = [*(home / "run/daemons").glob("*.log"), *(home / "log").rglob("*.log")]
        return "\n".join(f"--- {file}\n{_tail(file)}" for file in sorted(files))


class Guest:
    """A guest, reached by ssh from the internet through a forwarded port."""

    def __init__(self, internet: Machine, address: str, port: int, key: Path, user: str = "tiny") -> None:
        self._internet = internet
        self._target = (address, port, key, user)

    def ssh(
        self, command: str, *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest's shell."""
        address, port, key, user = self._target
        return self._internet.run(
            "ssh", "-i", str(key), "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "-o", "BatchMode=yes",
            f"{user}@{address}", command,
            check=check, timeout=timeout,
        )  # fmt: skip

    def fetch(self, url: str) -> str:
        """HTTP GET from inside the guest."""
        return self.ssh(f"wget -q -T 10 -O - {shlex.quote(url)}").stdout

    def wait(self, seconds: float = 120) -> None:
        """Until ssh lets us in."""
        eventually(lambda: self.ssh("true", check=False).returncode == 0, "ssh into the guest", seconds)


def qemu_pid(vm_id: str) -> int:
    """The QEMU process of a VM, by its uuid on the command line."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"qemu-system-x86_64") and vm_id.encode() in words:
            return int(entry.name)
    raise AssertionError(f"no QEMU process has uuid {vm_id}")


def download(cloud: Cloud, url: str, target: Path) -> None:
    """What somebody outside downloads of a storage VM, whose certificate is of the cloud's own authority."""
    assert url.startswith("https://")
    authority = target.with_suffix(".pem")
    authority.write_text(Authority(HOME / "mgmt/pki").server_ca)
    cloud.internet.run(
        "curl", "-sSf", "-m", "100", "--cacert", str(authority), "-o", str(target), url, timeout=120
    )


def http_status(machine: Machine, url: str, seconds: int = 5) -> str:
    """Status of a GET from a machine, `000` when nothing answers."""
    return machine.run(
        "curl",
        "-s",
        "-k",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-m",
        str(seconds),
        url,
        check=False,
        timeout=30,
    ).stdout


def _tail(file: Path, size: int = 3000) -> str:
    with file.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - size))
        return log.read().decode(errors="replace")
