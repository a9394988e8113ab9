"""A large simulated cloud: its rows in bulk, its hosts in memory, its management server (`make sim`)."""
