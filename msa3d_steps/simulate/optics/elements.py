"""NIRSpec's optical elements as astropy models.

Real, from the WCS of a public exposure (see `extract`): camera, collimator, fore optics and
telescope, one detector, one quadrant of the MSA with the pitch and the open size of its shutters.
Modelled after documented figures:

- the other detector: the real one moved across the gap of 2.8 mm between them (JDox, "NIRSpec
  Detectors"), so that rows run on from one to the other;
- the other quadrants: the real one mirrored about the axes of the MSA, with all shutters on a
  regular grid. It gives gaps of 23 arcsec across and 37 arcsec along the slits, as documented
  (JDox, "NIRSpec Micro-Shutter Assembly"). On the way of the dispersion quadrants 1 and 2 come
  first, then 3 and 4, as their documented centres in (V2, V3) say;
- the fixed slits: their corners in (V2, V3) in the observatory's aperture file (SIAF of NIRSpec).
"""

from functools import cache, reduce
from importlib.resources import files

import asdf
import numpy as np
from astropy.modeling.models import (
    AffineTransformation2D,
    Identity,
    Mapping,
    Polynomial2D,
    Rotation2D,
    Scale,
    Shift,
)

__all__ = [
    "camera",
    "collimator",
    "fixed_slits",
    "fore",
    "fpa",
    "load_coefficients",
    "ote",
    "quadrant",
    "shutters",
]

DETECTOR_SIZE = 2048
DETECTOR_GAP = 2.8e-3  # m, between the edges of the detectors
SHUTTERS = (365, 171)  # across (dispersion) and along the slits
DEGREE = 5
FIXED_SLITS = {  # middle and size in the plane of the MSA, mm
    "S200A1": ((26.973, -2.715), (0.076, 1.261)),
    "S200A2": ((34.664, -1.259), (0.076, 1.273)),
    "S400A1": ((29.667, 0.285), (0.155, 1.449)),
    "S1600A1": ((28.666, 1.552), (0.627, 0.619)),
    "S200B1": ((-34.676, 2.757), (0.079, 1.274)),
}
QUADRANT_SIDES = {1: (-1, -1), 2: (-1, 1), 3: (1, -1), 4: (1, 1)}  # signs of x and y in the MSA
SHUTTER_TYPE = [("NO", "i4"), *((name, "f4") for name in ("XC", "YC", "SIZEX", "SIZEY"))]


@cache
def load_coefficients():
    """Load the coefficients that come with the package.

    Returns
    -------
    dict
        As `extract.extract_coefficients` gives them; shared, so do not change them.
    """
    with files(__package__).joinpath("coefficients.asdf").open("rb") as stream:
        with asdf.open(stream, lazy_load=False, memmap=False) as file:
            return {
                key: value
                for key, value in file.tree.items()
                if key not in ("asdf_library", "history")
            }


def fpa(coefficients, detector):
    """Make the transform from pixels of a detector's own frame to the focal plane.

    Parameters
    ----------
    coefficients : dict
        The coefficients.
    detector : {'NRS1', 'NRS2'}
        The detector.

    Returns
    -------
    astropy.modeling.Model
        (pixel, pixel) to (m, m), with inverse. Of two detectors one is real.
    """
    record = coefficients["fpa"]
    matrix, shift = np.array(record["matrix"]), np.array(record["shift"])
    if detector != record["detector"]:
        # the same rows and columns, a detector and the gap further; its frame is turned by 180 deg
        pixel = abs(matrix[0, 0])
        away = (pixel * DETECTOR_SIZE + DETECTOR_GAP) * (1 if detector == "NRS2" else -1)
        shift = shift + matrix @ np.full(2, DETECTOR_SIZE - 1.0) + (away, 0)
        matrix = -matrix
    affine = AffineTransformation2D(matrix=matrix, name="fpa_affine_d2s")
    model = affine | _shift(shift, "fpa_{}_d2s")
    model.inverse = _shift(-shift, "fpa_{}_s2d") | _named(affine.inverse, "fpa_affine_s2d")
    return model


def camera(coefficients):
    """Make the camera: focal plane to the grating wheel.

    Parameters
    ----------
    coefficients : dict
        The coefficients.

    Returns
    -------
    astropy.modeling.Model
        (m, m) to tangents of angles, with inverse.
    """
    return _distortion("camera", coefficients["camera"])


def collimator(coefficients):
    """Make the collimator: grating wheel to the plane of the MSA.

    Parameters
    ----------
    coefficients : dict
        The coefficients.

    Returns
    -------
    astropy.modeling.Model
        Tangents of angles to (m, m). Its inverse is real; a MOS exposure uses, and its WCS has,
        only the inverse, so that the model itself is the linear part alone.
    """
    return _distortion("collimator", coefficients["collimator"])


def fore(coefficients):
    """Make the fore optics: MSA to the telescope's focal plane.

    Parameters
    ----------
    coefficients : dict
        The coefficients.

    Returns
    -------
    astropy.modeling.Model
        (m, m, wavelength in m) to (deg, deg), with an inverse that takes the same three kinds.
    """
    return _distortion("fore", coefficients["fore"], chromatic=True)


def ote(coefficients):
    """Make the telescope: its focal plane to (V2, V3).

    Parameters
    ----------
    coefficients : dict
        The coefficients.

    Returns
    -------
    astropy.modeling.Model
        (deg, deg) to (arcsec, arcsec), with inverse.
    """
    telescope = _distortion("ote", coefficients["ote"])
    model = telescope | Scale(3600) & Scale(3600)
    model.inverse = Scale(1 / 3600) & Scale(1 / 3600) | telescope.inverse
    return model


def quadrant(coefficients, number):
    """Make the transform from a quadrant's own frame to the MSA.

    Parameters
    ----------
    coefficients : dict
        The coefficients.
    number : int
        Quadrant, 1 to 4; 5 is the frame of the fixed slits.

    Returns
    -------
    astropy.modeling.Model
        (m, m) to (m, m). The origin is the middle of the quadrant's first shutter.
    """
    if number == 5:
        return Rotation2D(0.0, name="msa_Q5_rot") | _shift((0.0, 0.0), "msa_Q5_{}")
    record = coefficients["msa"]
    flips = np.array(QUADRANT_SIDES[number]) * QUADRANT_SIDES[record["quadrant"]]
    # the shutter that becomes the first of the mirrored quadrant
    first = np.where(flips < 0, np.array(SHUTTERS) - 1, 0) * record["pitch"]
    real = Rotation2D(record["rotation"]) | _shift(record["shift"])
    shift = flips * np.array(real(*first))
    rotation = float(np.prod(flips) * record["rotation"])
    return Rotation2D(rotation, name=f"msa_Q{number}_rot") | _shift(shift, f"msa_Q{number}_{{}}")


def shutters(coefficients):
    """Lay out the shutters of a quadrant on a regular grid.

    Parameters
    ----------
    coefficients : dict
        The coefficients.

    Returns
    -------
    ndarray
        The table of jwst's MSA reference file, shape ``(62415,)``: NO, from 1; XC and YC, the
        middle in the quadrant's frame, m; SIZEX and SIZEY, the open size, m. The number grows
        across the slits first, 365 to a row.
    """
    record = coefficients["msa"]
    across, along = SHUTTERS
    table = np.zeros(across * along, dtype=SHUTTER_TYPE)
    table["NO"] = np.arange(1, table.size + 1)
    table["XC"] = np.tile(np.arange(across) * record["pitch"][0], along)
    table["YC"] = np.repeat(np.arange(along) * record["pitch"][1], across)
    table["SIZEX"], table["SIZEY"] = record["size"]
    return table


def fixed_slits():
    """Lay out the fixed slits.

    Returns
    -------
    ndarray
        As `shutters`, shape ``(5,)``, in the order of `FIXED_SLITS`, numbered from 0 as in jwst.
    """
    rows = ((*middle, *size) for middle, size in FIXED_SLITS.values())
    values = [(number, *(1e-3 * value for value in row)) for number, row in enumerate(rows)]
    return np.array(values, dtype=SHUTTER_TYPE)


def _pipe(*models):
    """Chain transforms."""
    return reduce(lambda first, second: first | second, models)


def _named(model, name):
    """Give a model a name."""
    model.name = name
    return model


def _shift(offsets, names="{}"):
    """Make a shift in x and y."""
    x, y = (float(offset) for offset in offsets)
    return Shift(x, name=names.format("x")) & Shift(y, name=names.format("y"))


def _polynomial(values, name):
    """Make a polynomial in x and y."""
    names = Polynomial2D(DEGREE).param_names
    return Polynomial2D(DEGREE, name=name, **dict(zip(names, map(float, values), strict=True)))


def _distortion(name, record, chromatic=False):
    """Make polynomials and the linear part after them; the inverse undoes them in turn."""
    affine = AffineTransformation2D(matrix=np.array(record["matrix"]), name=f"{name}_affine_d2s")
    inner, outer = (np.array(record[f"{where}_shift"]) for where in ("inner", "outer"))
    linear = _pipe(
        _shift(inner, f"{name}_{{}}incen_d2s"), affine, _shift(outer, f"{name}_{{}}outcen_d2s")
    )
    undone = _pipe(
        _shift(-outer, f"{name}_{{}}outcen_d2s"),
        affine.inverse,
        _shift(-inner, f"{name}_{{}}incen_d2s"),
    )
    if chromatic:
        undone = undone & Identity(1)
    ahead = _polynomials(name, record, "forward", chromatic)
    model = linear if ahead is None else ahead | linear
    model.inverse = undone | _polynomials(name, record, "backward", chromatic)
    return model


def _polynomials(name, record, way, chromatic):
    """Make the polynomials of one way, None where the record has none."""
    if way not in record:
        return None
    parts = [
        _polynomial(c, f"{name}_{axis}_{way}") for axis, c in zip("xy", record[way], strict=True)
    ]
    if not chromatic:
        return Mapping((0, 1, 0, 1)) | parts[0] & parts[1]
    changes = record[f"{way}_per_m"]
    first, second = (
        _with_wavelength(part, change, f"{part.name}dist")
        for part, change in zip(parts, changes, strict=True)
    )
    return Mapping((0, 1, 2, 0, 1, 2)) | first & second


def _with_wavelength(polynomial, change, name):
    """Let a polynomial take the wavelength (m) too, and change with it where it does."""
    first_two = Mapping((0, 1), n_inputs=3)
    if not np.any(change):
        return first_two | polynomial
    per_metre = first_two | _polynomial(change, name)
    return (first_two | polynomial) + per_metre * (Mapping((2,), n_inputs=3) | Identity(1))
