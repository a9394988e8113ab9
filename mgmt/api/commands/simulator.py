"""What goes wrong on simulated hosts: CloudStack's commands for its simulator, where simulated hosts are."""

from typing import Annotated, Any

from msgspec import Meta

from mgmt.agents.errors import AgentError, AgentFailed, AgentUnreachable
from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.params import unknown_entity, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.drivers.faults import ANY_CALL, Fault
from mgmt.drivers.simulator import CALLS, Simulator
from mgmt.model.errors import ParameterError, Unavailable
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Cluster, Host, Pod, Zone

DRIVER = "simulator"
WHERE = "the simulated agent"
#: Words of `result` in `value`, the error each is, and whether the work was done before.
RESULTS: dict[str, tuple[AgentError, bool]] = {
    "fail": (AgentFailed(WHERE, "it was told to fail"), False),
    "fault": (AgentUnreachable(WHERE, "no answer: it was told not to hear"), False),
    "lost": (AgentUnreachable(WHERE, "no answer: it was told to do it and not to answer"), True),
}
LONGEST_WAIT = 3_600_000
MockId = Annotated[int, "the number of the fault", Meta(ge=1, le=2**31 - 1)]


class SimulatorMock(Response, kw_only=True):
    """A fault that is planned; without `count` until it is cleared."""

    id: int
    name: str
    count: int | None = None
    zoneid: str | None = None
    podid: str | None = None
    clusterid: str | None = None
    hostid: str | None = None


class ConfigureSimulator(SyncCommand, kw_only=True, frozen=True):
    """Lets calls to simulated hosts fail or take long."""

    spec = Spec(answer=SimulatorMock, access=ROOT, envelope="simulatormock", simulated=True)

    name: Annotated[str, "the call: put_domain, machine.put_state, …; * for all"]
    value: Annotated[str, "result:fail, fault (not heard) or lost (done, not answered); |wait:milliseconds"]
    count: Annotated[int | None, "how often; without it until it is cleared", Meta(ge=1, le=10**6)] = None
    zoneid: Annotated[str | None, Ref(Zone), "only on hosts of this zone"] = None
    podid: Annotated[str | None, Ref(Pod), "only on hosts of this pod"] = None
    clusterid: Annotated[str | None, Ref(Cluster), "only on hosts of this cluster"] = None
    hostid: Annotated[str | None, Ref(Host), "only on this host"] = None
    jsonresponse: Annotated[str | None, "not offered", Meta(max_length=4096)] = None

    def run(self, call: Call) -> Response:
        """The narrowest of the places counts."""
        if self.name not in CALLS | {ANY_CALL}:
            raise wrong_value("name", self.name, f"one of {ANY_CALL}, {', '.join(sorted(CALLS))}")
        if self.jsonresponse is not None:
            raise ParameterError("Parameter jsonresponse is not offered: say what happens by value")
        place = self.hostid or self.clusterid or self.podid or self.zoneid or ""
        return _answer(
            call, simulator_of(call).faults.plan(read_fault(self.name, self.value, self.count, place))
        )


class QuerySimulatorMock(SyncCommand, kw_only=True, frozen=True):
    """Returns a fault of simulated hosts, and how often it is still to be met."""

    spec = Spec(answer=SimulatorMock, access=ROOT, envelope="simulatormock", simulated=True)

    id: MockId

    def run(self, call: Call) -> Response:
        """Also one that is used up, with the count 0."""
        fault = simulator_of(call).faults.find(self.id)
        if fault is None:
            raise unknown_entity("id", str(self.id))
        return _answer(call, fault)


class CleanupSimulatorMock(SyncCommand, kw_only=True, frozen=True):
    """Clears a fault of simulated hosts, or all of them."""

    spec = Spec(access=ROOT, simulated=True)

    id: Annotated[int | None, "the number of the fault; without it all", Meta(ge=1, le=2**31 - 1)] = None

    def run(self, call: Call) -> Response:
        """One that is not there is a mistake of the caller."""
        if not simulator_of(call).faults.clear(self.id) and self.id is not None:
            raise unknown_entity("id", str(self.id))
        return DONE


def simulator_of(call: Call) -> Simulator:
    """The simulator of this server. Raises `Unavailable`."""
    driver = call.part(Runtime).drivers.get(DRIVER)
    if not isinstance(driver, Simulator):
        raise Unavailable("This management server has no simulated hosts")
    return driver


def read_fault(name: str, value: str, count: int | None, place: str) -> Fault:
    """A fault from `value`: names and values, written as in CloudStack. Raises `ParameterError`."""
    fault = Fault(call=name, left=count, place=place)
    for entry in value.split("|"):
        key, _, text = entry.partition(":")
        if key == "result" and text in RESULTS:
            fault.error, fault.is_done = RESULTS[text]
        elif key == "wait" and text.isascii() and text.isdecimal() and int(text) <= LONGEST_WAIT:
            fault.delay = int(text) / 1000
        else:
            words = f"result:{', result:'.join(RESULTS)} or wait:N (milliseconds), several with | between"
            raise wrong_value("value", value, words)
    return fault


def _answer(call: Call, fault: Fault) -> SimulatorMock:
    tables: dict[str, Any] = {"zoneid": Zone, "podid": Pod, "clusterid": Cluster, "hostid": Host}
    place = {
        name: fault.place
        for name, table in tables.items()
        if fault.place and call.session.get(table, fault.place) is not None
    }
    return SimulatorMock(id=fault.id, name=fault.call, count=fault.left, **place)
