"""Looks for contradictions between the database, the hosts and the system VMs; changes nothing.

What belongs to a job that runs is left alone: it may be half-way. `examine` is for programs (the sweep of
crash points asks it after every crash), `python -m mgmt.doctor --home H` and `pileus doctor` for people.
"""
