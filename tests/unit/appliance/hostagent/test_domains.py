"""What an agent says of its VMs while it works on them."""

import threading
from pathlib import Path
from typing import Any

import pytest

from appliance.hostagent.domains import Domains
from appliance.hostagent.operations import Operation
from appliance.paths import Paths

pytestmark = pytest.mark.unit
VM = "4b1f2a30-0000-4000-8000-000000000001"


class Libvirt:
    """A hypervisor with one VM; `look` is called while somebody asks for the states, after they were read."""

    def __init__(self) -> None:
        self.state = "running"
        self.look = lambda: None

    def domains(self) -> list[Any]:
        return []

    def find(self, _uuid: str) -> "Libvirt":
        return self

    def name(self) -> str:
        return "web"

    def states(self) -> dict[str, tuple[str, str, str]]:
        read = {VM: ("web", self.state, "")}
        self.look()
        return read


def test_a_stop_that_ends_while_libvirt_is_asked_is_no_vm_that_runs(tmp_path: Path) -> None:
    """Who asked for the stop would take it for one that was done, and had failed."""
    libvirt, may_end, ended = Libvirt(), threading.Event(), threading.Event()
    nothing: Any = None
    hypervisor: Any = libvirt
    domains = Domains(nothing, Paths(tmp_path, tmp_path), hypervisor, nothing, nothing, nothing)

    def stop(_domain: Any, _operation: Operation) -> None:
        assert may_end.wait(10)
        libvirt.state = "stopped"

    def end() -> None:
        may_end.set()
        assert domains.cancel(VM, "stop", 10)
        ended.set()

    assert domains.work_on(VM, "stop", stop, wait=0).state == "preparing"
    libvirt.look = end
    assert domains.get(VM).state == "preparing"
    assert ended.is_set()
    libvirt.look = lambda: None
    assert domains.get(VM).state == "stopped"
