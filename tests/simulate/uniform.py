"""Exposures of a sky that has 1 MJy/sr everywhere, seen through the slitlets of a metafile."""

import numpy as np
from jwst.assign_wcs.assign_wcs import load_wcs
from jwst.extract_2d.extract_2d import extract2d
from stdatamodels.jwst import datamodels

from msa3d_steps.simulate.references.calibration import Response

SLIT_Y_RANGE = (-0.55, 0.55)


def blank(grating, filter_, detector, metafile, dither=1):
    """A rate image with the metadata that calwebb_spec2 needs and no light."""
    model = datamodels.ImageModel((2048, 2048))
    for name in ("data", "err", "var_poisson", "var_rnoise"):
        setattr(model, name, np.zeros(model.shape, "f4") + (name == "err"))
    model.dq = np.zeros(model.shape, "u4")
    fast, slow = {"NRS1": (2, 1), "NRS2": (-2, -1)}[detector]
    groups = {
        "instrument": {
            "name": "NIRSPEC", "detector": detector, "grating": grating, "filter": filter_,
            "lamp_state": "NONE", "lamp_mode": "MSASPEC", "gwa_xtilt": 0.338, "gwa_ytilt": 0.032,
            "gwa_tilt": 36.05, "msa_metadata_file": metafile.name, "msa_metadata_id": 1,
        },
        "exposure": {
            "type": "NRS_MSASPEC", "readpatt": "NRSIRS2", "nints": 1, "ngroups": 14, "nframes": 5,
            "groupgap": 0, "exposure_time": 1000.0, "effective_exposure_time": 1000.0,
            "mid_time": 60462.0, "start_time": 60462.0, "end_time": 60462.0,
        },
        "observation": {
            "date": "2024-06-01", "time": "00:00:00.000", "program_number": "09999",
            "observation_number": "001", "visit_number": "001", "visit_id": "09999001001",
        },
        "subarray": {
            "name": "FULL", "xstart": 1, "ystart": 1, "xsize": 2048, "ysize": 2048,
            "fastaxis": fast, "slowaxis": slow,
        },
        "wcsinfo": {
            "v2_ref": 378.563202, "v3_ref": -428.402832, "v3yangle": 138.5745697, "vparity": -1,
            "ra_ref": 150.1, "dec_ref": 2.3, "roll_ref": 30.0, "velosys": 0.0,
        },
        "dither": {"position_number": dither, "x_offset": 0.0, "y_offset": 0.0},
        "target": {"ra": 150.1, "dec": 2.3},
        "visit": {"tsovisit": False},
    }  # fmt: skip
    model.meta.telescope = "JWST"
    for group, values in groups.items():
        for key, value in values.items():
            setattr(getattr(model.meta, group), key, value)
    model.meta.bunit_data = model.meta.bunit_err = "DN/s"
    return model


def cut_out(model, references, metafile):
    """The slitlets of a metafile in an exposure, found by jwst's own code."""
    names = {reftype: str(path) for reftype, path in references.items()}
    names["msametafile"] = str(metafile)
    model = load_wcs(model, names, SLIT_Y_RANGE)
    return extract2d(model, reference_files={"wavelengthrange": names["wavelengthrange"]})


def pixel_places(slit):
    """Wavelength (micron) and place along the slit of each pixel of a cutout."""
    y, x = np.mgrid[: slit.data.shape[0], : slit.data.shape[1]]
    _, y_slit, lam = slit.meta.wcs.get_transform("detector", "slit_frame")(x, y)
    return lam * 1e6, y_slit


def uniform_rate(grating, filter_, detector, references, metafile, dither=1):
    """A rate image of a sky of 1 MJy/sr."""
    response = Response(grating, filter_, detector)
    image = np.zeros((2048, 2048))
    scratch = blank(grating, filter_, detector, metafile, dither)
    for slit in cut_out(scratch, references, metafile).slits:
        lam, y_slit = pixel_places(slit)
        light = response(
            lam, y_slit, slit.xstart, slit.ystart, slit.quadrant, slit.shutter_state,
            slit.slit_yscale,
        )  # fmt: skip
        rows = slice(slit.ystart - 1, slit.ystart - 1 + light.shape[0])
        columns = slice(slit.xstart - 1, slit.xstart - 1 + light.shape[1])
        image[rows, columns] += np.nan_to_num(light)
    rate = blank(grating, filter_, detector, metafile, dither)
    rate.data = image.astype("f4")
    rate.err = np.full_like(rate.data, 0.001)
    rate.var_rnoise = rate.err**2
    return rate
