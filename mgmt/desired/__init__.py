"""Desired state, compiled: rows in, documents out; pure."""
