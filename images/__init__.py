"""Appliance images: recipes, diskimage-builder elements and the builder that makes bootable disks."""
