"""`python -m appliance.launcher.private_mounts HOME -- PROGRAM…`: puts HOME's libvirt folders over the
machine's own, then becomes PROGRAM. Runs inside a mount namespace of its own (`unshare --mount`).
"""

import os
import sys
from pathlib import Path

from appliance.paths import Paths
from systemvm.engine.command import run

#: Folder inside the home's `libvirt/` to the place where libvirtd looks for it.
MOUNTS = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
}


def main(arguments: list[str]) -> None:
    """Bind the folders and exec. Raises CommandError when a mount is refused."""
    home, separator, *program = arguments
    if separator != "--" or not program:
        raise SystemExit("usage: python -m appliance.launcher.private_mounts HOME -- PROGRAM [ARGUMENT…]")
    for name, target in MOUNTS.items():
        Path(target).mkdir(parents=True, exist_ok=True)
        run(("mount", "--bind", str(Paths(Path(home)).libvirt / name), target))
    os.execvp(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
