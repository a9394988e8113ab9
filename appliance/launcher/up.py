"""`pileus up`: this machine becomes a cloud. Every step finds what is there and does only what is missing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cs import CloudStack
from rich.console import Console

from appliance.launcher import client, first_vm, identity, node, seed, zone
from appliance.launcher.boot_unit import UNIT, BootUnit, render_unit
from appliance.launcher.daemons import has_systemd, machine_daemons, uses_systemd
from appliance.launcher.libvirt import start_libvirt
from appliance.launcher.settings import Settings, write_settings
from appliance.launcher.steps import Progress, Step, StepFailed, run_steps
from appliance.paths import Paths
from appliance.preflight import run_preflight
from appliance.preflight.acceleration import probe_acceleration
from images import builder
from systemvm.engine.daemons import Daemons

#: Catalog images of a cloud: the one of all system VMs, and the first guest template.
IMAGES = ("systemvm", seed.TEMPLATE)


@dataclass
class Bringup:
    """What the steps hand to each other."""

    paths: Paths
    settings: Settings
    console: Console
    daemons: Daemons = field(init=False)
    template: dict[str, Any] = field(default_factory=dict)
    vm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find out how this machine runs daemons."""
        self.daemons = machine_daemons(self.paths)

    @property
    def cloud(self) -> CloudStack:
        """The API, as admin."""
        return client.connect(self.paths, self.settings)


def bring_up(paths: Paths, settings: Settings, console: Console) -> Bringup:
    """Run all steps. Raises StepFailed naming the step, the reason and what to do."""
    if problem := paths.problem():
        raise StepFailed(problem, "set PILEUS_HOME to a shorter path")
    paths.create()
    bringup = Bringup(paths, settings, console)
    run_steps(
        [
            Step("Preflight", lambda say: _preflight(bringup, say)),
            *(Step(f"Image {name}", _image_step(name)) for name in IMAGES),
            Step("Identity", lambda say: _identity(bringup)),
            Step("Hypervisor", lambda say: _hypervisor(bringup), undo=bringup_undo(bringup)),
            Step("Management server", lambda say: _mgmt(bringup, say), undo=bringup_undo(bringup)),
            Step("Zone", lambda say: zone.configure_zone(bringup.cloud, settings, say)),
            Step("System VMs", lambda say: first_vm.wait_for_system_vms(bringup.cloud, say)),
            Step("First template", lambda say: _template(bringup, say)),
            Step("First VM", lambda say: _first_vm(bringup, say)),
            Step("Start at boot", lambda say: start_at_boot(paths, settings)),
        ],
        console,
    )
    return bringup


def bringup_undo(bringup: Bringup) -> Any:
    """Stops what this run of `pileus up` would leave half-started; VMs that run are not touched."""
    was_running = bringup.daemons.is_running(node.MGMT)

    def undo() -> None:
        if not was_running:
            node.stop_node(bringup.paths, bringup.daemons)

    return undo


def _preflight(bringup: Bringup, say: Progress) -> str:
    results = run_preflight(bringup.paths, bringup.settings, say)
    for result in results:
        if result.level != "ok":
            bringup.console.print(
                f"  [yellow]{result.level}[/] {result.name}: {result.cause} → {result.repair}"
            )
    failed = [result for result in results if result.level == "fail"]
    if failed:
        raise StepFailed(
            "; ".join(f"{result.name}: {result.cause}" for result in failed),
            " ".join(result.repair for result in failed),
        )
    # Not before: what preflight refused must not come back with the next `pileus status` or `pileus up`.
    write_settings(bringup.paths, bringup.settings)
    return f"{len(results)} checks passed"


def _image_step(name: str) -> Any:
    def run(say: Progress) -> str:
        return f"{builder.build(name, _Saying(say)).input_hash[:12]}, by the hash of its inputs"

    return run


class _Saying:
    """Shows the steps of an image build as what the step does now."""

    def __init__(self, say: Progress) -> None:
        self._say = say

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See images.builder.progress.Progress."""
        self._say(name)
        yield


def _identity(bringup: Bringup) -> str:
    node.ensure_user(bringup.settings)
    return identity.ensure_identity(bringup.paths, bringup.settings)


def _hypervisor(bringup: Bringup) -> str:
    settings = bringup.settings
    found = probe_acceleration(bringup.paths)
    start_libvirt(bringup.paths, bringup.daemons, settings.host, cgroups=has_systemd())
    config = node.host_agent_config(bringup.paths, settings, found.kind)
    node.start_host_agent(bringup.paths, bringup.daemons, config)
    if not uses_systemd():
        node.start_keeper(bringup.paths, bringup.daemons)
    mode = "KVM" if found.kind == "kvm" else "TCG"
    way_out = f"guests leave through {settings.uplink}" if settings.uplink else "the public network is closed"
    return f"libvirt and host agent; VMs run under {mode}; {way_out}"


def _mgmt(bringup: Bringup, say: Progress) -> str:
    node.start_mgmt(bringup.paths, bringup.daemons, bringup.settings)
    say("logging in")
    client.ensure_credentials(bringup.paths, bringup.settings)
    return bringup.settings.api_url


def _template(bringup: Bringup, say: Progress) -> str:
    folder = bringup.paths.images / seed.TEMPLATE / "current"
    bringup.template = seed.ensure_template(bringup.cloud, bringup.settings, folder, say)
    return f"{bringup.template['name']}, {bringup.template['size'] // 1024**2} MiB"


def _first_vm(bringup: Bringup, say: Progress) -> str:
    bringup.vm = first_vm.ensure_first_vm(bringup.cloud, bringup.settings, bringup.template, say)
    return f"{bringup.vm['name']} at {bringup.vm['nic'][0]['ipaddress']}"


def boot_unit_text(paths: Paths, settings: Settings) -> str:
    """The unit that repeats this `pileus up`; all but the way out is in the cloud's own settings."""
    way_out = (f"--uplink={settings.uplink}",) if settings.uplink else ()
    argv = (sys.executable, "-m", "appliance.cli.main", "up", *way_out)
    return render_unit(argv, node.environment(paths), (paths.home, paths.cache))


def start_at_boot(paths: Paths, settings: Settings) -> str:
    """The machine's next boot brings this cloud back, where systemd is in charge; what happened, in words."""
    if not uses_systemd():
        return "this machine has no systemd that could: run `pileus up` after each boot"
    BootUnit().enable(boot_unit_text(paths, settings))
    return f"{UNIT} is enabled; `pileus down` disables it"
