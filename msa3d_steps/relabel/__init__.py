"""Repair of the MSA metafile: every shutter of a slitlet belongs to its galaxy."""
