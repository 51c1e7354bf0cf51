"""Reference files of calwebb_spec2 that say what the formulas of `calibration` do.

Each file samples the smooth formulas of that module so finely that linear interpolation, which is
what jwst does, gives them back within a few parts in 100,000.
"""

import json
from pathlib import Path

import numpy as np
from astropy.io import fits
from stdatamodels.jwst import datamodels

from msa3d_steps.simulate.metafile import SHUTTERS_ACROSS, SHUTTERS_ALONG
from msa3d_steps.simulate.references import calibration
from msa3d_steps.simulate.references.throughput import (
    ARCSEC2,
    GRATINGS,
    PIXEL_AREA,
    conversion,
    find_grating,
)
from msa3d_steps.whole import replace_whole

__all__ = ["write_calibration_references"]

DETECTORS = ("NRS1", "NRS2")
AUTHOR = "msa3d_steps (SYNTHETIC)"
USEAFTER = "2020-01-01T00:00:00"
DATE = "2020-01-01T00:00:00.000"
"""The same for all files, so that the same files are the same bytes."""

FAST_VARIATION = [
    ("slit_name", "S15"),
    ("nelem", "i4"),
    ("wavelength", "f4"),
    ("data", "f4"),
    ("error", "f4"),
]

FAST_STEP = 0.005
"""Step of the wavelengths of the flats' fast variation, micron."""

PHOTOM_LENGTH = 2000
"""Wavelengths of each grating's relative response."""

SHADOW_ROWS = 500
"""Rows of the bar shadow per pitch of the shutters; jwst counts on it."""

SHADOW_COLUMNS = 101
"""Wavelengths of the bar shadow; jwst counts on it."""

POINT_REACH = 20.0
"""Farthest place of a point source that has a pathloss, in pitches of the shutters.

Much more than a real file has: for a source outside its array, jwst skips the correction of a
uniform source, too.
"""

POINT_STEP = 0.5
POINT_WAVELENGTHS = 11
UNIFORM_WAVELENGTHS = 511


def write_calibration_references(folder, grating, filter_, stuck_open=None):
    """Write the reference files that calwebb_spec2 asks for in MOS mode, but for those of the WCS.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where to; made if it does not exist.
    grating, filter_ : str
        As in the keywords GRATING and FILTER.
    stuck_open : tuple of int, optional
        Quadrant, x and y (as in `Slitlet`) of a shutter that never closes; jwst flags what it
        could illuminate. Without, there is no ``msaoper`` file.

    Returns
    -------
    dict of str to (pathlib.Path or dict of str to pathlib.Path)
        The files by reference type; where each detector has its own, these by detector.

    Raises
    ------
    InputError
        If the grating with this filter is not modelled.
    """
    find_grating(grating, filter_)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    both = f"{grating}_{filter_}".lower()

    def save(model, reftype, *marks):
        name = "_".join(("synthetic_nirspec", reftype, *marks)).lower()
        return _save(model, reftype, folder / f"{name}.fits")

    paths = {
        "dflat": {name: save(_detector_flat(name), "dflat", name) for name in DETECTORS},
        "sflat": {
            name: save(_spectrograph_flat(name, grating, filter_), "sflat", both, name)
            for name in DETECTORS
        },
        "fflat": save(_fore_optics_flat(), "fflat", both),
        "photom": save(_photom(), "photom"),
        "area": save(_area(), "area"),
        "pathloss": save(_pathloss(), "pathloss"),
        "barshadow": save(_bar_shadow(), "barshadow"),
    }
    if stuck_open is not None:
        paths["msaoper"] = _write_msaoper(folder / "synthetic_nirspec_msaoper.json", stuck_open)
    return paths


def _save(model, reftype, path):
    """Label a model, write it with its large images compressed, and return the path."""
    meta = model.meta
    meta.telescope, meta.instrument.name = "JWST", "NIRSPEC"
    meta.reftype, meta.pedigree = reftype.upper(), "DUMMY"
    meta.author, meta.useafter = AUTHOR, USEAFTER
    meta.description = "SYNTHETIC, for simulated data only"
    meta.filename = path.name
    with replace_whole(path) as temporary:
        model.save(str(temporary))
        model.close()
        with fits.open(temporary) as hdus:
            packed = fits.HDUList([_packed(hdu) for hdu in hdus])
            packed[0].header["DATE"] = DATE
            packed[0].header["FILENAME"] = path.name
            packed[0].header["EXP_TYPE"] = "NRS_MSASPEC"
            packed.writeto(temporary, overwrite=True)
    return path


def _packed(hdu):
    """Compress an image without loss if it is as large as a detector.

    Flats are multiples of a step, so they are whole numbers; those compress fast, and to the same
    bytes whenever it is done.
    """
    if not hdu.is_image or hdu.size < np.prod(calibration.DETECTOR_SHAPE):
        return hdu
    tile = (1,) * (hdu.data.ndim - 2) + (64, hdu.shape[-1])
    packed = fits.CompImageHDU(hdu.data, hdu.header, compression_type="RICE_1", tile_shape=tile)
    if hdu.data.dtype.kind == "f":
        packed.scale("int16", bscale=calibration.FLAT_STEP, bzero=1)
    return packed


def _fast_variation(spectrum):
    """Tabulate a flat's fast variation with wavelength."""
    low, high = calibration.LAM_RANGE
    lam = np.arange(low - 2 * FAST_STEP, high + 2.5 * FAST_STEP, FAST_STEP)
    table = np.zeros(lam.size, dtype=FAST_VARIATION)
    table["slit_name"], table["nelem"] = b"ANY", lam.size
    table["wavelength"], table["data"] = lam, spectrum(lam)
    return table


def _plane_wavelength():
    """Tabulate the wavelengths of a flat's planes: there is one."""
    return np.array([(3.0,)], dtype=[("wavelength", "f4")])


def _detector_flat(detector):
    model = datamodels.NirspecFlatModel()
    model.meta.instrument.detector = detector
    flags = datamodels.dqflags.pixel
    bad = calibration.flat_bad_pixels(detector)
    model.dq_def = np.array(
        [
            (0, 1, b"DO_NOT_USE", b"Not to be used for anything"),
            (1, 2, b"NO_FLAT_FIELD", b"The flat field is not known"),
        ],
        dtype=[("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")],
    )
    model.data = calibration.detector_flat_image(detector)[None]
    model.err = np.zeros(calibration.DETECTOR_SHAPE, dtype=np.float32)
    model.dq = bad * np.uint32(flags["DO_NOT_USE"] | flags["NO_FLAT_FIELD"])
    model.wavelength = _plane_wavelength()
    model.flat_table = _fast_variation(
        lambda lam: calibration.detector_flat_spectrum(lam, detector)
    )
    return model


def _spectrograph_flat(detector, grating, filter_):
    model = datamodels.NirspecFlatModel()
    model.meta.instrument.detector = detector
    model.meta.instrument.grating, model.meta.instrument.filter = grating, filter_
    model.data = calibration.spectrograph_flat_image(detector)
    model.flat_table = _fast_variation(
        lambda lam: calibration.spectrograph_flat_spectrum(lam, detector)
    )
    return model


def _fore_optics_flat():
    """Make the flat of the MSA's quadrants: no shutter differs from its neighbours."""
    model = datamodels.NirspecQuadFlatModel()
    shape = (1, SHUTTERS_ALONG, SHUTTERS_ACROSS)
    for number in range(1, 5):
        quadrant = model.quadrants.item()
        quadrant.data, quadrant.err = np.ones(shape, "f4"), np.zeros(shape, "f4")
        quadrant.wavelength = _plane_wavelength()
        quadrant.flat_table = _fast_variation(
            lambda lam, number=number: calibration.fore_optics_flat(lam, number)
        )
        model.quadrants.append(quadrant)
    return model


def _photom():
    """Make the conversion to flux, of all gratings; the same for all detectors."""
    length = (PHOTOM_LENGTH,)
    table = np.zeros(
        len(GRATINGS),
        dtype=[
            ("filter", "S12"), ("grating", "S15"), ("photmj", "f4"), ("uncertainty", "f4"),
            ("nelem", "i2"), ("wavelength", "f4", length), ("relresponse", "f4", length),
            ("reluncertainty", "f4", length),
        ],
    )  # fmt: skip
    for row, ((grating, filter_), model) in zip(table, GRATINGS.items(), strict=True):
        lam = np.linspace(*model.lam_range, PHOTOM_LENGTH)
        counts = conversion(lam, grating, filter_)
        row["filter"], row["grating"] = filter_.encode(), grating.encode()
        row["photmj"], row["nelem"] = PIXEL_AREA / counts.max(), PHOTOM_LENGTH
        row["wavelength"], row["relresponse"] = lam, counts.max() / counts
    photom = datamodels.NrsMosPhotomModel(phot_table=table)
    photom.meta.photometry.pixelarea_steradians = PIXEL_AREA
    photom.meta.photometry.pixelarea_arcsecsq = PIXEL_AREA / ARCSEC2
    return photom


def _area():
    """Make the area of a pixel for each shutter: all the same."""
    quadrant, along, across = np.indices((4, SHUTTERS_ALONG, SHUTTERS_ACROSS)).reshape(3, -1) + 1
    table = np.zeros(
        quadrant.size,
        dtype=[("quadrant", "i2"), ("shutter_x", "i2"), ("shutter_y", "i2"), ("pixarea", "f4")],
    )
    table["quadrant"], table["shutter_x"], table["shutter_y"] = quadrant, across, along
    table["pixarea"] = PIXEL_AREA / ARCSEC2
    return datamodels.NirspecMosAreaModel(area_table=table)


def _pathloss():
    """Make the pathloss of the two apertures that jwst knows."""
    model = datamodels.PathlossModel()
    place = np.arange(-POINT_REACH, POINT_REACH + POINT_STEP / 2, POINT_STEP)
    lam = np.linspace(*calibration.LAM_RANGE, POINT_WAVELENGTHS)
    uniform_lam = np.linspace(*calibration.LAM_RANGE, UNIFORM_WAVELENGTHS)
    for shutters in (1, 3):
        point = calibration.point_pathloss(
            place, place[:, None], lam[:, None, None], shutters
        ).astype(np.float32)
        uniform = calibration.uniform_pathloss(uniform_lam, shutters).astype(np.float32)
        model.apertures.append(
            {
                "name": f"MOS1x{shutters}",
                "shutters": shutters,
                "pointsource_data": point,
                "pointsource_err": np.zeros_like(point),
                "uniform_data": uniform,
                "uniform_err": np.zeros_like(uniform),
                "pointsource_wcs": _axes((1, place), (2, place), (3, lam * 1e-6)),
                "uniform_wcs": _axes((1, uniform_lam * 1e-6)),
            }
        )
    return model


def _axes(*axes):
    """FITS keywords of regular axes: (number, values)."""
    keywords = {}
    for number, values in axes:
        keywords[f"crpix{number}"] = 1.0
        keywords[f"crval{number}"] = float(values[0])
        keywords[f"cdelt{number}"] = float(values[-1] - values[0]) / (len(values) - 1)
    return keywords


def _bar_shadow():
    """Make the shadows that jwst cuts in halves and puts together.

    In the upper half of the shadow of one shutter jwst leaves out the row of the centre: the row
    after it becomes the centre of the last shutter. The rows are made for that.
    """
    row = np.arange(2 * SHADOW_ROWS + 1) - SHADOW_ROWS
    lam = np.linspace(*calibration.LAM_RANGE, SHADOW_COLUMNS)

    def shadow(rows, state):
        along = np.broadcast_to((rows / SHADOW_ROWS)[:, None], (rows.size, lam.size))
        return calibration.bar_shadow(along, lam, state).astype(np.float32)

    model = datamodels.BarshadowModel(
        data1x1=shadow(row - (row > 0), "x"), data1x3=shadow(row, "1x1")
    )
    model.var1x1, model.var1x3 = np.zeros_like(model.data1x1), np.zeros_like(model.data1x3)
    axes = _axes((1, lam * 1e-6), (2, row / SHADOW_ROWS))
    for name in ("crval1", "cdelt1", "crval2", "cdelt2"):
        setattr(model, name, axes[name])
    return model


def _write_msaoper(path, stuck_open):
    quadrant, across, along = stuck_open
    shutter = {"Q": quadrant, "x": across, "y": along, "Vignetted": "no"}
    shutter |= dict.fromkeys(("state", "TA state", "Internal state"), "open")
    text = {
        "title": "MSA operability", "reftype": "MSAOPER", "pedigree": "DUMMY", "author": AUTHOR,
        "instrument": "NIRSPEC", "exp_type": "NRS_MSASPEC", "telescope": "JWST",
        "useafter": USEAFTER, "descrip": "SYNTHETIC, for simulated data only",
        "HISTORY": "made by msa3d_simulate", "msaoper": [shutter],
    }  # fmt: skip
    with replace_whole(path) as temporary:
        temporary.write_text(json.dumps(text, indent=1))
    return path
