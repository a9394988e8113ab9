"""The runtime inside every system VM, and the document types it shares with the management server."""
