"""Exposures with the simulator's pathloss in them, and nothing else: what they lost is known.

Slitlets and WCS are jwst's own (``assign_wcs`` and ``extract_2d`` with the simulator's optics), the
pathloss is the simulator's formula at the wavelengths that the WCS gives, pixel by pixel.
"""

import numpy as np
from simulate.uniform import blank, cut_out, pixel_places

from msa3d_steps.simulate.metafile import Slitlet, write_metafile
from msa3d_steps.simulate.optics.references import write_wcs_references
from msa3d_steps.simulate.references.calibration import pathloss_aperture, uniform_pathloss
from msa3d_steps.simulate.references.files import _pathloss, _save

ARRAYS = {"data": 1, "err": 1, "var_poisson": 2, "var_rnoise": 2, "var_flat": 2}
"""The arrays of a slit, and the power of the pathloss that they are divided by."""

NAME = "jw09999001001_03101_00001_nrs1_cal.fits"


def write_reference(path):
    """Write the simulator's pathloss reference file."""
    return _save(_pathloss(), "pathloss", path)


def exposure(folder, numbers):
    """An exposure as calwebb_spec2 gives it, of slitlets of so many shutters; it lost no light."""
    slitlets = [
        Slitlet(i, 3, 130, 18 * i, n, i, f"9999_{i}", str(i), 150.1, 2.3)
        for i, n in enumerate(numbers, 1)
    ]
    references = write_wcs_references(folder, "PRISM", "CLEAR")
    metafile = write_metafile(folder / "msa.fits", slitlets, 1)
    model = cut_out(blank("PRISM", "CLEAR", "NRS1", metafile), references, metafile)
    model.meta.filename = NAME
    model.meta.cal_step.pathloss = "SKIPPED"
    for slit in model.slits:
        fill(slit, *pixel_places(slit))
    return model


def fill(slit, lam, y_slit):
    """Give a slit a sloped spectrum with a line, on a profile, and errors."""
    line = np.exp(-0.5 * ((lam - 2.2) / 0.05) ** 2)
    data = (1 + 0.2 * (lam - 2) + 3 * line) * np.exp(-0.1 * y_slit**2)
    values = {
        "data": data, "err": 0.02 + 0.01 * data, "var_poisson": (0.01 + 0.008 * data) ** 2,
        "var_rnoise": 1e-4 + 0 * data, "var_flat": (1e-3 * data) ** 2,
    }  # fmt: skip
    for name, array in values.items():
        setattr(slit, name, array.astype(np.float32))
    slit.dq = np.where(np.isfinite(data), 0, 1).astype(np.uint32)
    slit.source_type = "EXTENDED"
    slit.meta.bunit_data = slit.meta.bunit_err = "MJy/sr"


def loss_of(slit, lam):
    """The simulator's pathloss of a slit at wavelengths, um."""
    return uniform_pathloss(lam, pathloss_aperture(slit.shutter_state))


def lose(model):
    """A copy of a model that has the pathloss in it."""
    lossy = model.copy()
    for slit in lossy.slits:
        loss = loss_of(slit, pixel_places(slit)[0])
        for name, power in ARRAYS.items():
            setattr(slit, name, (getattr(slit, name) * loss**power).astype(np.float32))
    return lossy


def assert_same(slits, others, rtol):
    """The same pixels have values, and the same values."""
    for slit, other in zip(slits, others, strict=True):
        for name in ARRAYS:
            ours, theirs = getattr(slit, name), getattr(other, name)
            if theirs is None:
                assert ours is None
                continue
            assert np.isfinite(theirs).sum() > 1000
            np.testing.assert_allclose(ours, theirs, rtol=rtol, err_msg=name)
