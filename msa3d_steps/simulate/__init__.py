"""A slit-stepping survey with a known truth, through NIRSpec's own optics."""
