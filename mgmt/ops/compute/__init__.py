"""Tenants' VMs: rows, then what happens to them on hosts, from deploy to expunge."""
