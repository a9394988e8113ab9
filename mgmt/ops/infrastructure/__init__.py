"""Hosts, pools and what they have room for; out of service; kept for somebody alone."""
