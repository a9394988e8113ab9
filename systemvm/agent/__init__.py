"""The agent of every system VM: the engine's face, over mutual TLS on the link-local address only.

`python3 -m systemvm.agent` starts it. Import as little as possible on the way to the open port: the
machine may be emulated, where each imported module costs tens of milliseconds.
"""

API_VERSIONS = ("v1",)
