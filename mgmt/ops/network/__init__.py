"""Networks of tenants: on hosts, and their rules and addresses on routers."""
