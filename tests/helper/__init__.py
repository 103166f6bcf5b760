"""Tests of the executable networking-config, as administrators and boot run it."""
