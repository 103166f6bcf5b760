"""Tests with a real libvirtd, in Debian systems of their own; they need root."""
