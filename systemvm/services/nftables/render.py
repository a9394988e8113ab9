"""The ruleset: one file that replaces both tables in one kernel transaction."""

import hashlib
from pathlib import Path

from systemvm.engine.problems import LINK_LOCAL
from systemvm.engine.service import File, NativeCheck, Rendering
from systemvm.engine.templates import render_template
from systemvm.services.nftables.layout import layout_of
from systemvm.services.nftables.policy import Policy
from systemvm.services.nftables.sets import (
    egress_sets,
    forward_maps,
    ingress_sets,
    layout_sets,
    nat_maps,
)
from systemvm.spec.bootstrap import CONTROL_LINK
from systemvm.spec.state import State

RULESET = "/etc/pileus/nftables/ruleset.nft"
TABLE, USAGE_TABLE = "pileus", "pileus_usage"


def render(state: State) -> Rendering:
    """One ruleset; nothing if the section is absent."""
    if state.nftables is None:
        return Rendering()
    policy = Policy(state.nftables, layout_of(state))
    text = _ruleset(state, policy)
    return Rendering(
        files=(File(RULESET, text, mode=0o600),),
        checks=(NativeCheck(("nft", "-c", "-f", f"{{stage}}{RULESET}")),),
        kernel=policy,
    )


def marker(policy: Policy) -> str:
    """Name of the counter that tells, in the kernel, which ruleset is loaded."""
    return f"ruleset-{hashlib.sha256(repr(policy).encode()).hexdigest()[:16]}"


def _ruleset(state: State, policy: Policy) -> str:
    section, layout = policy.section, policy.layout
    policies = {policy.interface: policy.allow for policy in section.egress_policies}
    ingress = ingress_sets(section.ingress)
    forwards = forward_maps(section.port_forwards)
    sets = [*layout_sets(layout), *ingress, *forwards, *nat_maps(section)]
    egress = []
    for link in layout.guest_links:
        made = egress_sets(link, [rule for rule in section.egress if rule.interface == link])
        sets += made
        allow = policies.get(link, False)
        # The rules say the opposite of the policy.
        verdicts = ("drop", "accept") if allow else ("accept", "drop")
        egress.append({"link": link, "sets": made, "rules": verdicts[0], "policy": verdicts[1]})
    return render_template(
        Path(__file__).parent,
        "ruleset.nft.j2",
        state,
        table=TABLE,
        usage_table=USAGE_TABLE,
        control_link=CONTROL_LINK,
        link_local=LINK_LOCAL,
        marker=marker(policy),
        sets=sets,
        public_addresses=layout.public_addresses,
        ingress=ingress,
        forwarded_ranges=forwards[1],
        egress=egress,
        guests=layout.guests,
        source_nat_links=tuple(dict.fromkeys(rule.interface for rule in section.source_nat)),
    )
