"""The cube that explains the exposures, instead of their weighted mean."""
