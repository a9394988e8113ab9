"""`POST /v1/diagnostics`: a look from inside the machine, by typed arguments, never a shell."""

from typing import Annotated

from flask import Blueprint, Response
from msgspec import Meta, Struct

from systemvm.agent.answers import answer, body
from systemvm.engine.apply import Engine
from systemvm.engine.errors import CommandError
from systemvm.engine.service import Doors
from systemvm.spec.types import Ipv4, LinkName

Count = Annotated[int, Meta(ge=1, le=20)]
Hops = Annotated[int, Meta(ge=1, le=30)]


class Ping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="tool", tag="ping"):
    """ICMP echo to `address`, out of `interface` if one is named."""

    address: Ipv4
    interface: LinkName | None = None
    count: Count = 3

    def argv(self) -> tuple[str, ...]:
        """See ping(8)."""
        out = ("-I", self.interface) if self.interface else ()
        return ("ping", "-n", "-c", str(self.count), "-i", "0.5", "-W", "2", *out, self.address)


class Arping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="tool", tag="arping"):
    """ARP requests for `address` on `interface`."""

    address: Ipv4
    interface: LinkName
    count: Count = 3

    def argv(self) -> tuple[str, ...]:
        """See arping(8)."""
        return ("arping", "-c", str(self.count), "-I", self.interface, self.address)


class Traceroute(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="tool", tag="traceroute"
):
    """The way to `address`, at most `hops` far."""

    address: Ipv4
    hops: Hops = 15

    def argv(self) -> tuple[str, ...]:
        """See traceroute(1): one try per hop, each at most two seconds."""
        return ("traceroute", "-n", "-q", "1", "-w", "2", "-m", str(self.hops), self.address)


class Capture(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="tool", tag="capture"):
    """Headers of the next `count` packets on `interface`, of one `address` if named, for some `seconds`."""

    interface: LinkName
    address: Ipv4 | None = None
    count: Annotated[int, Meta(ge=1, le=500)] = 50
    seconds: Annotated[int, Meta(ge=1, le=30)] = 10

    def argv(self) -> tuple[str, ...]:
        """See tcpdump(8): printed at once, names never looked up, contents never shown."""
        only = ("host", self.address) if self.address else ()
        options = ("-n", "-q", "-l", "--immediate-mode", "-c", str(self.count), "-i", self.interface)
        return ("timeout", str(self.seconds), "tcpdump", *options, *only)


Diagnostic = Ping | Arping | Traceroute | Capture
#: Seconds that a diagnostic may take.
_TIMEOUT = 60.0


def blueprint(engine: Engine, doors: Doors) -> Blueprint:
    """Routes of diagnostics."""
    routes = Blueprint("diagnostics", __name__)

    @routes.post("/v1/diagnostics")
    def diagnose() -> Response:
        wanted: Diagnostic = body(Diagnostic)  # type: ignore[arg-type]
        argv = wanted.argv()
        try:
            done = doors.run(argv, timeout=_TIMEOUT)
        except CommandError as failed:
            if failed.returncode in (None, 127):
                raise
            # "No answer" is an answer: it is what was asked.
            return answer(_report(argv, False, failed.stdout + failed.stderr))
        return answer(_report(argv, True, done.stdout + done.stderr))

    return routes


def _report(argv: tuple[str, ...], success: bool, output: str) -> dict[str, object]:
    return {"command": argv, "success": success, "output": output}
