"""The routes of the agent, one blueprint per subject."""
