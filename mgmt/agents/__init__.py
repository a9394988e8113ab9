"""HTTP clients of the agents on hosts and in system VMs."""
