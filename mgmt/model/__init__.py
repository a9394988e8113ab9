"""States and small values of the domain, shared by every layer of the management server."""
