"""Looks at a machine before anything is changed on it: what is missing, why it matters, how to repair it."""

from appliance.preflight.check import CheckResult
from appliance.preflight.runner import run_preflight

__all__ = ["CheckResult", "run_preflight"]
