"""The host's state document: checked, applied by difference, rolled back when it fails, kept on disk."""

import ipaddress
import logging
import threading
from pathlib import Path

import msgspec

from appliance.hostagent import firewall, links
from appliance.hostagent.config import HostAgentConfig
from appliance.hostagent.errors import Refused
from appliance.hostagent.forwarding import Forwarding
from appliance.hostagent.topology import DEFAULT_MTU, Topology, guest_bridge, plan, wanted_topology
from appliance.hostagent.uplinks import is_link_name, read_links, uplink_problem
from appliance.paths import Paths
from systemvm.engine.errors import ApplyFailed, EngineError, InvalidDocument, StaleGeneration
from systemvm.engine.files import write_atomic
from systemvm.engine.ticket import is_public_key
from systemvm.spec.host import HostState
from systemvm.spec.types import Problem

_log = logging.getLogger("pileus.host")


def state_file(paths: Paths) -> Path:
    """The last good state document; the relay reads the ticket key from it."""
    return paths.host / "state.json"


def read_state(paths: Paths) -> HostState | None:
    """The last good state document; None before the first."""
    try:
        return msgspec.json.decode(state_file(paths).read_bytes(), type=HostState)
    except FileNotFoundError:
        return None


class HostNetworks:
    """Bridges, tunnels and firewall of one host."""

    def __init__(self, config: HostAgentConfig, paths: Paths) -> None:
        self._config = config
        self._paths = paths
        self._forwarding = _forwarding(paths)
        self._lock = threading.Lock()
        self._state = read_state(paths)

    @property
    def state(self) -> HostState | None:
        """The applied document; None before the first."""
        return self._state

    def has_bridge(self, name: str) -> bool:
        """Whether the applied state has that bridge."""
        return name in self._wanted(self._effective(self._state)).bridges

    def mtus(self) -> dict[str, int]:
        """Bridges whose guests must use another MTU than Ethernet's."""
        bridges = self._wanted(self._effective(self._state)).bridges.values()
        return {bridge.name: bridge.mtu for bridge in bridges if bridge.mtu != DEFAULT_MTU}

    def apply(self, state: HostState) -> bool:
        """Make the host's networks so; False when no link had to change.

        Raises InvalidDocument with every problem, StaleGeneration, ApplyFailed (the last good state is
        back then).
        """
        if problems := check_state(state, self._config):
            raise InvalidDocument(problems)
        with self._lock:
            before = self._state
            if before and state.generation < before.generation:
                raise StaleGeneration(
                    f"generation {state.generation} is older than {before.generation}, which is applied"
                )
            try:
                changed = self._converge(state)
            except EngineError as error:
                self._roll_back(before)
                raise ApplyFailed(f"generation {state.generation}: {error}") from error
            self._state = state
        document = msgspec.json.encode(state)
        write_atomic(state_file(self._paths), document, mode=0o600)
        return changed

    def reapply(self) -> None:
        """Make or repair the applied state, for instance after a reboot of the host. Raises EngineError."""
        with self._lock:
            self._converge(self._state)

    def problems(self) -> list[str]:
        """What differs from the applied state, in words."""
        wanted = self._wanted(self._effective(self._state))
        return [str(step) for step in plan(wanted, links.read_topology())]

    def _converge(self, document: HostState | None) -> bool:
        state = self._effective(document)
        if state.masquerade and (problem := uplink_problem(state.masquerade, read_links())):
            raise Refused(": ".join(problem))
        steps = plan(self._wanted(state), links.read_topology())
        # The firewall first: no bridge is open for even a moment.
        ruleset = firewall.render_firewall(state, self._config, is_router=self._forwarding.is_router)
        firewall.apply_firewall(ruleset)
        links.execute(steps)
        masqueraded = [bridge.name for bridge in firewall.masqueraded_bridges(state, self._config)]
        self._forwarding.open_only([*masqueraded, state.masquerade] if masqueraded else [])
        for step in steps:
            _log.info("%s, because generation %d asks for it", step, state.generation)
        return bool(steps)

    def _roll_back(self, before: HostState | None) -> None:
        try:
            self._converge(before)
        except EngineError:
            _log.exception("the last good state of the host's networks could not be restored")

    def _effective(self, document: HostState | None) -> HostState:
        """The document on top of the host's own networks, without which nobody could reach the agent."""
        own = self._config
        if document is None:
            return HostState(generation=1, host=own.host, bridges=own.bridges, masquerade=own.masquerade)
        names = {bridge.name for bridge in own.bridges}
        bridges = (*own.bridges, *(bridge for bridge in document.bridges if bridge.name not in names))
        masquerade = document.masquerade or own.masquerade
        return msgspec.structs.replace(document, bridges=bridges, masquerade=masquerade)

    def _wanted(self, state: HostState) -> Topology:
        return wanted_topology(state, self._config.management_address)


def remove_all(paths: Paths) -> int:
    """Remove all links, rules and settings of ours; how many links. Raises EngineError."""
    steps = plan(Topology({}, {}), links.read_topology())
    links.execute(steps)
    _forwarding(paths).open_only([])
    firewall.remove_firewall()
    return len(steps)


def _forwarding(paths: Paths) -> Forwarding:
    return Forwarding(paths.host / "forwarding.json")


def check_state(state: HostState, config: HostAgentConfig) -> list[Problem]:
    """Every mistake in the document, each with its path."""
    problems = []
    if state.host != config.host:
        problems.append(Problem(path="host", message=f"this host is {config.host}, not {state.host}"))
    if state.ticket_key and not is_public_key(state.ticket_key):
        problems.append(Problem(path="ticket_key", message="not an Ed25519 public key in PEM"))
    if state.masquerade and not is_link_name(state.masquerade):
        problems.append(Problem(path="masquerade", message=f"{state.masquerade!r} is no interface name"))
    return problems + _bridge_problems(state) + _network_problems(state)


def _bridge_problems(state: HostState) -> list[Problem]:
    problems = []
    reserved = {guest_bridge(network.vni) for network in state.networks}
    for index, bridge in enumerate(state.bridges):
        path = f"bridges[{index}]"
        if bridge.name in reserved:
            problems.append(Problem(path=f"{path}.name", message=f"there are two bridges {bridge.name}"))
        reserved.add(bridge.name)
        if bridge.uplink and not is_link_name(bridge.uplink):
            message = f"{bridge.uplink!r} is no interface name"
            problems.append(Problem(path=f"{path}.uplink", message=message))
        for number, address in enumerate(bridge.addresses):
            if message := _address_problem(address):
                problems.append(Problem(path=f"{path}.addresses[{number}]", message=message))
    return problems


def _network_problems(state: HostState) -> list[Problem]:
    problems = []
    seen: set[int] = set()
    for index, network in enumerate(state.networks):
        if network.vni in seen:
            message = f"VNI {network.vni} is used by two networks"
            problems.append(Problem(path=f"networks[{index}].vni", message=message))
        seen.add(network.vni)
        for number, peer in enumerate(network.peers):
            if message := _address_problem(peer):
                problems.append(Problem(path=f"networks[{index}].peers[{number}]", message=message))
    return problems


def _address_problem(text: str) -> str:
    try:
        ipaddress.IPv4Interface(text)
    except ValueError as error:
        return str(error)
    return ""
