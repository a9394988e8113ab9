"""The apply engine: parse, check, render, stage, check natively, swap, reload, probe, roll back, record.

Also the doors to the operating system that every service shares: one subprocess runner
(`command.py`), one atomic file writer (`files.py`), one way to run daemons (`daemons.py`).
"""
