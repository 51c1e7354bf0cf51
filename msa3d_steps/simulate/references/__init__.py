"""The instrument's calibration: as formulas, as jwst reference files, as a local CRDS cache."""
