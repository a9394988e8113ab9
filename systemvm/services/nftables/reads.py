"""What the agent can read from the firewall: bytes per public address, and what was refused."""

import json
from collections.abc import Callable
from typing import Any

from systemvm.engine.service import Doors
from systemvm.services.nftables.render import TABLE, USAGE_TABLE


def usage(doors: Doors) -> list[dict[str, Any]]:
    """Bytes and packets per public address, as seen from outside, since the machine started.

    Counters survive every change of the rules; addresses that were released keep theirs.
    """
    totals: dict[str, dict[str, Any]] = {}
    for direction in ("received", "sent"):
        for address, count in _counted(direction, doors):
            row = totals.setdefault(address, _empty(address))
            row[f"{direction}_bytes"], row[f"{direction}_packets"] = count["bytes"], count["packets"]
    return [totals[address] for address in sorted(totals)]


def refused(doors: Doors) -> dict[str, int]:
    """Packets refused since the last change of the rules: at public addresses, to the machine, through it."""
    listed = json.loads(doors.run(("nft", "-j", "list", "counters", "table", "inet", TABLE)).stdout)
    counters = [item["counter"] for item in listed["nftables"] if "counter" in item]
    return {
        counter["name"].removeprefix("refused-"): counter["packets"]
        for counter in counters
        if counter["name"].startswith("refused-")
    }


def _counted(direction: str, doors: Doors) -> list[tuple[str, dict[str, int]]]:
    argv = ("nft", "-j", "list", "set", "inet", USAGE_TABLE, direction)
    listed = json.loads(doors.run(argv).stdout)
    found = next(item["set"] for item in listed["nftables"] if "set" in item)
    return [(item["elem"]["val"], item["elem"]["counter"]) for item in found.get("elem", ())]


def _empty(address: str) -> dict[str, Any]:
    zero = {f"{direction}_{unit}": 0 for direction in ("received", "sent") for unit in ("bytes", "packets")}
    return {"address": address, **zero}


READS: dict[str, Callable[[Doors], Any]] = {"usage": usage, "refused": refused}
