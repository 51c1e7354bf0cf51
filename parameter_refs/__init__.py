"""Parameter references: stpipe parameter files, one for each step and pipeline."""
