"""`GET /` and `GET /v1/info`: which versions, and who this machine is."""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flask import Blueprint, Response

from systemvm.agent import API_VERSIONS
from systemvm.agent.answers import answer
from systemvm.engine.apply import Engine
from systemvm.engine.registry import sections_of
from systemvm.engine.service import Doors
from systemvm.spec.bootstrap import Bootstrap
from systemvm.spec.state import VERSION


def blueprint(engine: Engine, bootstrap: Bootstrap, doors: Doors) -> Blueprint:
    """Routes of identity."""
    routes = Blueprint("info", __name__)

    @routes.get("/")
    def versions() -> Response:
        return answer(
            {"service": "pileus-agent", "versions": API_VERSIONS, "documents": [VERSION], "agent": _version()}
        )

    @routes.get("/v1/info")
    def info() -> Response:
        applied = engine.applied
        return answer(
            {
                "machine": bootstrap.machine,
                "name": bootstrap.name,
                "role": bootstrap.role,
                "agent": _version(),
                "kernel": os.uname().release,
                "uptime_seconds": _uptime(doors),
                "memory": _memory(doors),
                "activity": engine.activity,
                "applied": applied.state.generation if applied else None,
                "services": sections_of(applied.state) if applied else (),
                "generations": [
                    {
                        "generation": kept.generation,
                        "progress": kept.progress,
                        "error": kept.error,
                        "at": kept.at,
                    }
                    for kept in engine.kept()
                ],
            }
        )

    return routes


def _version() -> str:
    try:
        return version("pileus")
    except PackageNotFoundError:
        return "unpackaged"


def _uptime(doors: Doors) -> float:
    return float((doors.root / "proc/uptime").read_text().split()[0])


def _memory(doors: Doors) -> dict[str, int]:
    """Bytes, as proc(5) counts them."""
    wanted: dict[str, Any] = {"MemTotal": "total", "MemAvailable": "available"}
    pairs = (line.split() for line in (doors.root / "proc/meminfo").read_text().splitlines())
    return {
        wanted[name.rstrip(":")]: int(kib) * 1024 for name, kib, *_ in pairs if name.rstrip(":") in wanted
    }
