"""One folder per service, each with the four verbs: check, render, apply, probe."""
