"""Durable jobs: what an asynchronous command leaves to be done, and who does it."""
