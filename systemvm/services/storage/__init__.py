"""The storage VM: templates downloaded, judged, kept on a disk of their own, and served to hosts."""

from systemvm.engine.service import Service
from systemvm.services.storage.apply import apply
from systemvm.services.storage.check import check
from systemvm.services.storage.probe import probe
from systemvm.services.storage.render import render

SERVICE = Service(
    name="storage",
    check=check,
    render=render,
    apply=apply,
    probe=probe,
    after=("interfaces", "nftables"),
    # Two Python processes take their time to start on an emulated processor.
    deadline=60.0,
)
