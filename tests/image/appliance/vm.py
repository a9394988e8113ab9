"""A VM of the probe image, as tests speak about it."""

import re
from pathlib import Path
from uuid import uuid4

from systemvm.spec.host import ConfigDisk, DirectBoot, Domain, DomainNic, Power, TemplatePull, Volume
from tests.netns.host_bench import PUBLIC_BRIDGE, HostBench

BOOT_SECONDS = 90.0


class Vm:
    """A document that tests change, and what its VM says."""

    def __init__(self, host: HostBench, cmdline: str = "", uuid: str = "") -> None:
        self.host = host
        self.uuid = uuid or str(uuid4())
        self.root = Volume(
            id=str(uuid4()), pool="primary", bytes=1 << 26, base=TemplatePull(template="probe")
        )
        self.cmdline = cmdline
        self.mac = "02:00:00:00:00:01"
        self.log = host.paths.serial_logs / f"{self.uuid}.log"

    def document(self, **changes: object) -> Domain:
        values = {
            "id": self.uuid,
            "name": f"i-2-{self.uuid[:4]}-VM",
            "power": Power.running,
            "vcpus": 1,
            "memory_mib": 192,
            "nics": (DomainNic(mac=self.mac, bridge=PUBLIC_BRIDGE),),
            "volumes": (self.root,),
            "direct_boot": DirectBoot(image="probe", cmdline=self.cmdline),
            "config_disk": ConfigDisk(label="PILEUS", files={"machine.json": '{"secret": 1}'}),
        }
        return Domain(**(values | changes))

    def put(self, expected: int = 200, query: str = "", **changes: object) -> dict[str, object]:
        answer: dict[str, object] = self.host.put(
            f"/v1/domains/{self.uuid}{query}", self.document(**changes), expected
        )
        return answer

    def state(self) -> str:
        return str(self.host.get(f"/v1/domains/{self.uuid}")["state"])

    def reason(self) -> str:
        """What its host says of its state."""
        return str(self.host.get(f"/v1/domains/{self.uuid}")["reason"])

    def boots(self) -> int:
        return self.log.read_text().count("BOOTED")

    def virtio(self) -> int:
        """How many virtio devices the guest saw last."""
        found = re.findall(r"VIRTIO (\d+)", self.log.read_text())
        return int(found[-1]) if found else 0

    def qemu(self) -> int:
        """Process id of its QEMU."""
        pids = [pid for pid in self.host.machine.pids() if self.uuid in _command(pid)]
        assert len(pids) == 1, pids
        return pids[0]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
