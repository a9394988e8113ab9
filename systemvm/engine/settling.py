"""Telling a daemon that came up from one that is about to die, as soon as one can, on any processor.

A daemon that reads its configuration uses the processor; one that serves waits. So it is watched until
it waits, not for a fixed time, which would be too long on a fast machine and too short on an emulated one.
"""

import time
from pathlib import Path

#: Most seconds that a daemon is watched; the longest start of ours, a Python one under emulation, takes 2.
LONGEST = 5.0
_POLL = 0.05
#: Looks in a row at which it must be asleep without having used the processor.
_LOOKS = 3
# proc(5): the state is the first field after the name, user and system time are the 12th and 13th.
_STATE, _USER_TICKS, _SYSTEM_TICKS, _START_TICKS = 0, 11, 12, 19


def stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the state on; None for no process or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name, which may hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return None if fields[_STATE] in "ZX" else fields


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, None for no process or a zombie."""
    fields = stat_fields(pid)
    return None if fields is None else int(fields[_START_TICKS])


def wait_until_settled(pid: int) -> bool:
    """Watch a process until it waits for something, or LONGEST. False if it died meanwhile."""
    deadline = time.monotonic() + LONGEST
    calm, last = 0, ""
    while calm < _LOOKS and time.monotonic() < deadline:
        fields = stat_fields(pid)
        if fields is None:
            return False
        now = f"{fields[_USER_TICKS]} {fields[_SYSTEM_TICKS]}"
        calm = calm + 1 if fields[_STATE] == "S" and now == last else 0
        last = now
        time.sleep(_POLL)
    return stat_fields(pid) is not None
