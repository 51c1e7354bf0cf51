"""Cutouts in, cube out: sources -> footprints -> grid -> overlap -> combine -> model."""
