"""Load the ruleset in one transaction, then end connections that it would not have allowed."""

import logging

from systemvm.engine.service import Doors, Rendering
from systemvm.engine.swap import under
from systemvm.services.nftables.conntrack import delete_flows, list_flows
from systemvm.services.nftables.flows import Judge
from systemvm.services.nftables.policy import Policy
from systemvm.services.nftables.render import TABLE, USAGE_TABLE

log = logging.getLogger(__name__)

#: Seconds for one transaction; 10,000 rules take less than one.
LOAD_SECONDS = 60.0
#: Declaring a table first makes its deletion succeed whether or not it was there.
REMOVAL = "".join(f"table inet {table}\ndelete table inet {table}\n" for table in (TABLE, USAGE_TABLE))


def apply(new: Rendering, old: Rendering, doors: Doors) -> None:
    """All or nothing: the kernel swaps the whole ruleset. Raises CommandError with nft's words.

    A service that is off has no tables: the machine then filters nothing.
    """
    if not new.files:
        doors.run(("nft", "-f", "-"), stdin=REMOVAL)
        return
    path = under(doors.root, new.files[0].path)
    doors.run(("nft", "-f", str(path)), timeout=LOAD_SECONDS)
    _end_stale_flows(new.kernel, old.kernel, doors)


def _end_stale_flows(policy: Policy, former: Policy | None, doors: Doors) -> None:
    judge = Judge(policy, former)
    stale = [flow for flow in list_flows(doors.run) if judge.is_stale(flow)]
    delete_flows(stale, doors.run)
    if stale:
        log.info("%d connections ended, because the new rules do not allow them", len(stale))
