"""Documents shared by mgmt, hosts and system VMs: frozen msgspec structs, versioned, with JSON Schema.

This package imports msgspec and the standard library only.
"""
