"""Starts what a node needs: the private libvirtd, the agents, the management server."""
