"""The agent's processes: gunicorn's master, and the one worker it keeps."""

from pathlib import Path

from tests.netns.topology import Machine


def worker_of(machine: Machine) -> int:
    """Process id of the worker."""
    there = set(machine.pids())
    (worker,) = (pid for pid in there if _parent(pid) in there)
    return worker


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
