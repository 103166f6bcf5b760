"""Tests of the C core, driven through its public interface and the sys seam."""
