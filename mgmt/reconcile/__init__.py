"""The loop that brings the cloud back to what it should be."""
