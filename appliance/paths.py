"""Where everything of one cloud lives: one home folder, so that two clouds never meet on disk."""

import os
from dataclasses import dataclass
from pathlib import Path

#: sun_path holds 108 bytes with the terminating zero (unix(7)).
SOCKET_PATH_LIMIT = 107
_VNC_SOCKET = "run/vnc/00000000-0000-0000-0000-000000000000.sock"


@dataclass(frozen=True)
class Paths:
    """Folders and files of the cloud in `home`; `cache` holds built images and may serve several clouds."""

    home: Path
    cache: Path = Path("/var/cache/pileus")

    @classmethod
    def from_environment(cls) -> "Paths":
        """`PILEUS_HOME` (default /var/lib/pileus) and `PILEUS_CACHE` (default /var/cache/pileus)."""
        return cls(
            home=Path(os.environ.get("PILEUS_HOME") or "/var/lib/pileus").absolute(),
            cache=Path(os.environ.get("PILEUS_CACHE") or "/var/cache/pileus").absolute(),
        )

    @property
    def run(self) -> Path:
        """Sockets and process records."""
        return self.home / "run"

    @property
    def log(self) -> Path:
        """Logs of daemons."""
        return self.home / "log"

    @property
    def serial_logs(self) -> Path:
        """What each VM prints on its serial port: `<uuid>.log`."""
        return self.home / "log/serial"

    @property
    def vnc(self) -> Path:
        """VNC sockets of the running VMs: `<uuid>.sock`."""
        return self.home / "run/vnc"

    @property
    def daemons(self) -> Path:
        """Records of daemons that run as plain processes."""
        return self.home / "run/daemons"

    @property
    def libvirt(self) -> Path:
        """Private `etc`, `run`, `lib`, `cache`, `log` of this cloud's libvirtd."""
        return self.home / "libvirt"

    @property
    def libvirt_socket(self) -> Path:
        """Socket of this cloud's libvirtd, as seen from outside of its mount namespace."""
        return self.home / "libvirt/run/libvirt-sock"

    @property
    def pools(self) -> Path:
        """Local primary storage: one folder per pool."""
        return self.home / "pools"

    @property
    def templates(self) -> Path:
        """The host's template cache."""
        return self.home / "templates"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.home / "pki"

    @property
    def domains(self) -> Path:
        """Per VM: its config disk."""
        return self.home / "domains"

    @property
    def host(self) -> Path:
        """The host agent's configuration and records."""
        return self.home / "host"

    @property
    def agent_config(self) -> Path:
        """The host agent's configuration."""
        return self.home / "host/agent.json"

    @property
    def shared_pools(self) -> Path:
        """Records of the shared pools that mgmt connected this host to."""
        return self.home / "host/pools"

    @property
    def images(self) -> Path:
        """The local image catalog."""
        return self.cache / "images"

    def problem(self) -> str:
        """Why this home cannot be used, in words; empty if it can."""
        longest = max((self.home / _VNC_SOCKET, self.libvirt_socket), key=lambda path: len(bytes(path)))
        surplus = len(bytes(longest)) - SOCKET_PATH_LIMIT
        if surplus > 0:
            return (
                f"{self.home} is {surplus} characters too long for Unix sockets in it; choose a shorter home"
            )
        return ""

    def create(self) -> None:
        """Make the folders; those that hold keys, sockets or disks are closed to other users."""
        for folder in (self.home, self.log, self.images):
            folder.mkdir(parents=True, exist_ok=True)
        private = (self.run, self.vnc, self.daemons, self.pki, self.host, self.domains, self.serial_logs)
        storage = (self.pools, self.pools / "primary", self.shared_pools, self.templates)
        for folder in (*private, *storage, self.libvirt):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        for name in ("etc", "run", "lib", "cache", "log"):
            (self.libvirt / name).mkdir(exist_ok=True)
