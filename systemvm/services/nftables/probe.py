"""Whether the kernel filters by this document's ruleset, with every hook in place and nothing let by."""

import json
from typing import Any

from systemvm.engine.service import Doors
from systemvm.services.nftables.layout import layout_of
from systemvm.services.nftables.policy import Policy
from systemvm.services.nftables.render import TABLE, marker
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

#: Base chains with the policy that they must have.
HOOKS = {
    ("filter", "prerouting"): "accept",
    ("filter", "input"): "drop",
    ("filter", "forward"): "drop",
    ("nat", "prerouting"): "accept",
    ("nat", "postrouting"): "accept",
}


def probe(state: State, doors: Doors) -> list[ProbeResult]:
    """Asks the kernel, not the file: which ruleset is loaded, and what its base chains do."""
    if state.nftables is None:
        return []
    counters = _list("counters", doors)
    chains = [item for item in _list("chains", doors) if item.get("table") == TABLE]
    wanted = marker(Policy(state.nftables, layout_of(state)))
    loaded = any(item.get("table") == TABLE and item.get("name") == wanted for item in counters)
    found = {(item["type"], item["hook"]): item["policy"] for item in chains if "hook" in item}
    wrong = [f"{kind} {hook}" for (kind, hook), policy in HOOKS.items() if found.get((kind, hook)) != policy]
    return [
        _result("ruleset", loaded, "is loaded", f"{wanted} is not loaded; something replaced table {TABLE}"),
        _result(
            "hooks",
            not wrong,
            "are in place, input and forward drop",
            f"wrong or missing: {', '.join(wrong)}",
        ),
    ]


def _list(what: str, doors: Doors) -> list[dict[str, Any]]:
    listed = json.loads(doors.run(("nft", "-j", "list", what, "inet")).stdout)
    return [content for item in listed["nftables"] for content in item.values()]


def _result(name: str, healthy: bool, good: str, bad: str) -> ProbeResult:
    return ProbeResult(service="nftables", name=name, healthy=healthy, message=good if healthy else bad)
