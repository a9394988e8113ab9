"""The agent of a hypervisor host: its networks, volumes and VMs, as documents ask."""
