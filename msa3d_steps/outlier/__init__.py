"""Outliers in the exposures of a source, flagged."""
