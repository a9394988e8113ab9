"""Volumes and their snapshots: in pools of hosts, and on their way to and from the storage VM."""
