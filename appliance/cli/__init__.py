"""The `pileus` command."""
