"""Whether the longer sweeps are asked for: `make test-long`."""

import os

LONG = bool(os.environ.get("PILEUS_TEST_LONG"))
