"""Routers, console proxies and storage VMs: rows, power, and the documents that configure them."""
