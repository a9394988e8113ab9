"""One service of one document made true inside a test machine, without the engine: check to probe."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from systemvm.engine.command import run
from systemvm.engine.processes import Processes
from systemvm.engine.service import Doors, Rendering, Service
from systemvm.engine.swap import Swap, under, write_file
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult
from tests.netns.topology import Machine


@dataclass
class Installed:
    """A service in a machine; `put` replaces its document, `probe` asks how it is."""

    service: Service
    machine: Machine
    doors: Doors
    rendering: Rendering = field(default_factory=Rendering)

    def put(self, state: State) -> None:
        """Check, render, check natively on staged files, swap, apply; stops what is no longer wanted."""
        problems = self.service.check(state)
        assert not problems, problems
        new = self.service.render(state)
        with self.machine.entered():
            self._check_natively(new)
            swap = Swap(self.doors.root, new.files, self.rendering.files)
            swap.prepare()
            swap.commit()
            swap.discard()
            wanted = {daemon.name for daemon in new.daemons}
            for daemon in self.rendering.daemons:
                if daemon.name not in wanted:
                    self.doors.daemons.stop(daemon.name)
            self.service.apply(new, self.rendering, self.doors)
        self.rendering = new

    def probe(self, state: State) -> list[ProbeResult]:
        """The service's own probes, asked inside the machine."""
        with self.machine.entered():
            return self.service.probe(state, self.doors)

    def unhealthy(self, state: State) -> list[str]:
        """Words of the probes that fail."""
        return [result.message for result in self.probe(state) if not result.healthy]

    def _check_natively(self, new: Rendering) -> None:
        stage = Path("/run/pileus/stage")
        for file in new.files:
            target = under(stage, file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, file)
        for check in new.checks:
            run([word.replace("{stage}", str(stage)) for word in check.argv])


def install(service: Service, machine: Machine) -> Installed:
    """The service, not yet running, in a machine of its own."""
    doors = Doors(run=run, daemons=Processes(Path("/run/pileus/daemons")), now=time.time)
    return Installed(service, machine, doors)
