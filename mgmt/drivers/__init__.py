"""Hypervisors behind one protocol."""
