"""Tests on real filesystems in loop-mounted images; they need root."""
