"""`GET /v1/<role>/balancers`: what haproxy knows of every member."""

from typing import Any

from systemvm.engine.service import Doors
from systemvm.services.haproxy import stats
from systemvm.services.haproxy.render import SOCKET


def read_balancers(doors: Doors) -> list[dict[str, Any]]:
    """Balancers, their connections and bytes so far, and their members' states; empty if haproxy is off."""
    if not (doors.run_dir / SOCKET).exists():
        return []
    found: dict[str, dict[str, Any]] = {}
    for row in stats.rows(doors.run_dir / SOCKET):
        balancer = found.setdefault(row["pxname"], {"id": row["pxname"], "members": []})
        if row["svname"] == "BACKEND":
            balancer.update(connections=int(row["stot"]), received=int(row["bin"]), sent=int(row["bout"]))
        else:
            balancer["members"].append(_member(row))
    return list(found.values())


def _member(row: dict[str, str]) -> dict[str, Any]:
    # "UP 1/2" is up with one failed check of the two that it takes; the reason tells.
    state, reason = (
        row["status"].partition(" ")[0].lower(),
        f"{row['check_status']} {row['last_chk']}".strip(),
    )
    return {"id": row["svname"], "state": state, "reason": reason, "connections": int(row["stot"])}


READS = {"balancers": read_balancers}
