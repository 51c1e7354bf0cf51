"""Defaults of the steps in a pipeline that differ from the steps' own."""

__all__ = ["DETECTOR1", "SPEC2"]

SPEC2 = {
    "badpix_selfcal.skip": True,
    "bkg_subtract.skip": True,
    "imprint_subtract.skip": True,
    "master_background_mos.skip": True,
    "targ_centroid.skip": True,
    "wavecorr.skip": True,
    "srctype.source_type": "EXTENDED",
    "straylight.skip": True,
    "fringe.skip": True,
    "residual_fringe.skip": True,
    "wfss_contam.skip": True,
    "adaptive_trace_model.skip": True,
    "pixel_replace.skip": True,
    "resample_spec.skip": True,
    "cube_build.skip": True,
    "extract_1d.skip": True,
}
"""Stage 2 as slit stepping wants it: surface brightness of slits that are not rectified.

No subtraction of nods, whose slits hold the same galaxy; no wavelength correction, which is for
point sources; no step that jwst has for other modes.
"""

DETECTOR1 = {
    "jump.expand_large_events": True,
    "jump.sat_required_snowball": False,
    "jump.min_jump_area": 10.0,
    "clean_flicker_noise.skip": False,
}
"""Stage 1 with snowballs as GO-2136 flagged them (Barisic et al. 2024), and without 1/f noise."""
