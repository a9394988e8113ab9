"""Certificates of the cloud: two roots, short-lived leaves, the key that signs tickets."""
