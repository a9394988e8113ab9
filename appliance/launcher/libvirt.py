"""A private libvirtd: its own mount namespace, so that neither the machine's libvirt nor another cloud's
is touched. Domains are QEMU processes of their own and survive it.
"""

import sys
import time
from pathlib import Path

from appliance.paths import Paths
from systemvm.engine.daemons import Daemon, Daemons
from systemvm.engine.errors import EngineError
from systemvm.engine.files import write_atomic

DAEMON_NAME = "libvirtd"
#: Seconds until libvirtd must listen; its first start on a machine probes QEMU.
START_DEADLINE = 60.0

# user/group: with any other user libvirt finds /dev/kvm to be different from what its cached capabilities
#   say, and probes QEMU again (4 s) for every device of every VM that it starts.
# stdio_handler: no virtlogd needed beside it; the serial log is written by QEMU itself.
# cgroup_controllers: without systemd-machined, cgroups of equal names of two clouds would collide.
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
"""
_NO_CGROUPS = "cgroup_controllers = [ ]\n"
_LIBVIRTD_CONF = """\
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
unix_sock_admin_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
max_clients = 200
max_workers = 40
log_outputs = "3:stderr"
"""


class LibvirtDidNotStart(EngineError):
    """libvirtd runs, but does not listen."""

    code = "libvirt_did_not_start"


def libvirt_uri(paths: Paths) -> str:
    """URI with which libvirt-python reaches this cloud's libvirtd."""
    return f"qemu+unix:///system?socket={paths.libvirt_socket}"


def libvirt_daemon(paths: Paths) -> Daemon:
    """How libvirtd runs: in the foreground, in a mount namespace of its own."""
    return Daemon(
        name=DAEMON_NAME,
        argv=(
            *("unshare", "--mount", "--propagation", "private", "--"),
            *(sys.executable, "-m", "appliance.launcher.private_mounts", str(paths.home), "--"),
            *("libvirtd", "--pid-file", "/run/libvirt/pileus-libvirtd.pid"),
        ),
        environment={"PYTHONPATH": _package_folder()},
        leaves_children=True,
    )


def write_libvirt_files(paths: Paths, host: str, *, cgroups: bool = False) -> bool:
    """Write qemu.conf and libvirtd.conf; `host` is the host's uuid. True if libvirtd must be restarted.

    `cgroups` belongs on where systemd runs, which keeps the clouds' groups apart.
    """
    qemu_conf = _QEMU_CONF + ("" if cgroups else _NO_CGROUPS)
    libvirtd_conf = _LIBVIRTD_CONF + f'host_uuid = "{host}"\n'
    changed = write_atomic(paths.libvirt / "etc/qemu.conf", qemu_conf.encode())
    return write_atomic(paths.libvirt / "etc/libvirtd.conf", libvirtd_conf.encode()) or changed


def start_libvirt(paths: Paths, daemons: Daemons, host: str, *, cgroups: bool = False) -> None:
    """Start libvirtd unless it runs, and wait until it listens. Raises CommandError, LibvirtDidNotStart."""
    paths.create()
    daemon = libvirt_daemon(paths)
    if write_libvirt_files(paths, host, cgroups=cgroups):
        daemons.stop(daemon.name)
    daemons.ensure(daemon)
    wait_for_libvirt(paths, daemons)


def wait_for_libvirt(paths: Paths, daemons: Daemons, deadline: float = START_DEADLINE) -> None:
    """Return once libvirtd answers on its socket; `deadline` in seconds. Raises LibvirtDidNotStart."""
    import libvirt  # late: only a machine that runs VMs has it

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    until = time.monotonic() + deadline
    said = "it has not made its socket"
    while time.monotonic() < until and daemons.is_running(DAEMON_NAME):
        try:
            libvirt.open(libvirt_uri(paths)).close()
            return
        except libvirt.libvirtError as error:
            said = str(error)
            time.sleep(0.1)
    last_words = "\n".join(daemons.logs(DAEMON_NAME, 5))
    raise LibvirtDidNotStart(f"libvirtd does not answer on {paths.libvirt_socket}: {said}\n{last_words}")


def _package_folder() -> str:
    """Where this very code lies: the child must not find another version of it."""
    return str(Path(__file__).parents[2])
