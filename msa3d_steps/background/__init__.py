"""The background of slitlets that a galaxy fills: `msa3d_background`."""
