"""What makes a machine a Pileus node: the command line, preflight, host agent and launcher."""
