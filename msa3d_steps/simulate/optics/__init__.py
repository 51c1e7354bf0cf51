"""NIRSpec's optics: coefficients of its reference models, and the models made of them."""

from msa3d_steps.simulate.optics.dispersers import CONFIGURATIONS
from msa3d_steps.simulate.optics.elements import load_coefficients
from msa3d_steps.simulate.optics.references import write_wcs_references

__all__ = ["CONFIGURATIONS", "load_coefficients", "write_wcs_references"]
