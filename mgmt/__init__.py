"""The management server: CloudStack API, accounts, orchestration, durable jobs, hypervisor drivers."""
