"""Tells whoever waits that a VM of this host ended, as libvirt's events say: nobody has to ask all the time.

What is told is a mark, not the event: who gets another mark than it had looks at the VMs anew. So no event is
lost while nobody waits, nor by a restart of this agent, whose marks are others.
"""

import contextlib
import secrets
import threading
import time
from typing import Any

import libvirt

#: Longest time without a look whether the agent is about to end, in seconds.
_POLL = 1.0
_ENDS = (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_CRASHED)
_loop = threading.Lock()
_running: list[threading.Thread] = []


class Changes:
    """How often a VM ended, or may have."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._start = secrets.token_hex(4)
        self._count = 0
        self._is_closed = False

    @property
    def mark(self) -> str:
        """The mark of now."""
        return f"{self._start}-{self._count}"

    def note(self) -> None:
        """A VM ended, or may have."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, seen: str, seconds: float) -> str:
        """The mark of now: at once if it is another than `seen`, else after the next change or `seconds`."""
        until = time.monotonic() + seconds
        with self._condition:
            while self.mark == seen and not self._is_closed and (left := until - time.monotonic()) > 0:
                self._condition.wait(min(left, _POLL))
            return self.mark

    def close(self) -> None:
        """Let all who wait go. Takes no lock: signal handlers call it."""
        self._is_closed = True

    def follow(self, connection: Any) -> None:
        """Note what happens on a new connection to libvirtd, and that things may have happened before."""
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_event, None)
        with contextlib.suppress(libvirt.libvirtError):  # drivers without a daemon cannot lose it
            connection.registerCloseCallback(lambda *_: self.note(), None)
        self.note()

    def _on_event(self, _connection: Any, _domain: Any, event: int, _detail: int, _opaque: Any) -> None:
        if event in _ENDS:
            self.note()


def run_events() -> None:
    """Run libvirt's event loop in a thread, once; connections opened before it tell nothing."""
    with _loop:
        if _running:
            return
        libvirt.virEventRegisterDefaultImpl()
        thread = threading.Thread(target=_run, name="libvirt-events", daemon=True)
        thread.start()
        _running.append(thread)


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
