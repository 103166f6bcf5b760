"""The Python package, driven as its users drive it."""
