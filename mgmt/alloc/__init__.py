"""Who gets which address, MAC, network id, host and pool."""
