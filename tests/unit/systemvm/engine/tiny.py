"""Tiny services for tests of the engine and the agent: real objects with the four verbs."""

import json
from typing import Any

import msgspec

from systemvm.engine.daemons import Daemon
from systemvm.engine.errors import CommandError
from systemvm.engine.service import Doors, File, NativeCheck, Rendering, Service
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult, Problem

MACHINE = "0f8fad5b-d9cb-469f-a165-70867728950e"


class Tiny:
    """A service `name` with one file that holds its section as JSON, one daemon, and switches to break it."""

    def __init__(self, name: str, after: tuple[str, ...] = ()) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.refuse_apply = ""
        self.unhealthy: list[str] = []
        self.applied: list[tuple[Rendering, Rendering]] = []
        self.probed = 0
        self.service = Service(
            name=name,
            check=lambda state: list(self.problems),
            render=self.render,
            apply=self.apply,
            probe=self.probe,
            after=after,
            deadline=0.3,
        )

    def render(self, state: State) -> Rendering:
        section = getattr(state, self.name)
        if section is None:
            return Rendering()
        return Rendering(
            files=(File(f"/etc/pileus/{self.name}.conf", json.dumps(msgspec.to_builtins(section)), 0o640),),
            checks=(NativeCheck((f"{self.name}-check", f"{{stage}}/etc/pileus/{self.name}.conf")),),
            daemons=(Daemon(self.name, (f"/usr/sbin/{self.name}",), reload=("kill", "-HUP", "{pid}")),),
        )

    def apply(self, new: Rendering, old: Rendering, doors: Doors) -> None:
        self.applied.append((new, old))
        for file in new.files:
            text = (doors.root / file.path.lstrip("/")).read_text()
            assert text == file.text, "the engine swaps the files in before apply"
            if self.refuse_apply and self.refuse_apply in text:
                raise CommandError((self.name,), 1, "", f"cannot read {self.refuse_apply}")
        for daemon in new.daemons:
            doors.daemons.reload(daemon)

    def probe(self, state: State, doors: Doors) -> list[ProbeResult]:
        self.probed += 1
        message = self.unhealthy.pop(0) if self.unhealthy else ""
        return [ProbeResult(service=self.name, name="works", healthy=not message, message=message)]


class TinyServices:
    """Implements `Services` over a dict; `loaded` tells which were asked for."""

    def __init__(self, *services: Tiny) -> None:
        self.tiny = {tiny.name: tiny for tiny in services}
        self.loaded: set[str] = set()

    def names(self) -> tuple[str, ...]:
        return tuple(self.tiny)

    def load(self, name: str) -> Service:
        self.loaded.add(name)
        return self.tiny[name].service

    def reads(self, name: str) -> dict[str, Any]:
        return {name: lambda doors: {"service": name, "root": str(doors.root)}}


def document(generation: int, **sections: Any) -> bytes:
    identity = {"machine": MACHINE, "role": "router", "hostname": "r-1"}
    return json.dumps({"generation": generation, **identity, **sections}).encode()
