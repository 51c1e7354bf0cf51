"""Pipelines: from slope images to calibrated slits, from these to cubes, and all in one."""
