"""Correction for the part of the light that gets through, of a source that fills its slitlet."""
