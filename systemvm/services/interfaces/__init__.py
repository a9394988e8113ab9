"""NICs found by MAC, then named, addressed and routed by difference; only what is ours is deleted."""

from systemvm.engine.service import Service
from systemvm.services.interfaces.apply import apply
from systemvm.services.interfaces.check import check
from systemvm.services.interfaces.probe import probe
from systemvm.services.interfaces.render import render

SERVICE = Service(name="interfaces", check=check, render=render, apply=apply, probe=probe, deadline=10.0)
