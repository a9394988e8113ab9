"""Figures of the management server for Prometheus, at `/metrics`: what it does, and how the cloud is.

`measured` is counted where it happens, `state` is read from the database when somebody asks. Labels are
words of this program and names that root administrators gave (zones): nothing of tenants, no secrets.
"""
