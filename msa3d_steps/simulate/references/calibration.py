"""What happens to the light between the sky and the detector's counts.

Everything here is modelled, by smooth formulas, after documented figures of NIRSpec; none of it is
a measurement. The same formulas are sampled into reference files by
:mod:`msa3d_steps.simulate.references.files`; jwst's own steps, which undo them, share no code
with this module.

Places along the slit are in slit units as jwst has them: ``y_slit`` is 0 at the centre of the
source's shutter and runs from -0.5 to 0.5 over its open height. Wavelengths are in micron.
"""

from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from scipy.special import ndtr

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.references.throughput import conversion, find_grating

__all__ = [
    "LAM_RANGE",
    "Response",
    "bar_shadow",
    "detector_flat_image",
    "detector_flat_spectrum",
    "flat_bad_pixels",
    "fore_optics_flat",
    "pathloss_aperture",
    "point_pathloss",
    "spectrograph_flat_image",
    "spectrograph_flat_spectrum",
    "uniform_pathloss",
]

LAM_RANGE = (0.5, 5.6)
"""Wavelengths that the flats, the pathloss and the bar shadow are defined for, micron."""

DETECTOR_SHAPE = (2048, 2048)
"""Rows and columns of NRS1 and of NRS2."""

OPEN_FRACTION = 177.0 / 203.5
"""Open height of a shutter over the pitch of the shutters along the slit (sizes in micron)."""

PIXEL_HEIGHT = 0.1045 / 0.4575 * OPEN_FRACTION
"""Height of a pixel, in pitches of the shutters along the slit."""

SHADOW_FLOOR = 0.02
"""Light that reaches the detector beyond the outer edges of a slitlet."""

BAR_DEPTH = 0.2
"""Light that is missing at the middle of the bar between two open shutters."""

FLAT_NOISE = 0.01
"""Standard deviation of the pixel-to-pixel pattern of the detectors."""

FLAT_STEP = 2.0**-12
"""Flats come in multiples of this, so that their reference files compress without loss."""

BAD_FLAT_PIXELS = 200
"""Pixels of each detector that its flat calls useless."""

DETECTOR_SEEDS = {"NRS1": 491, "NRS2": 492}


def _wave(lam, period, phase):
    return np.sin(2 * np.pi * (np.asarray(lam, dtype=float) / period + phase))


def detector_flat_spectrum(lam, detector):
    """How a detector's sensitivity varies with wavelength: 2%.

    Parameters
    ----------
    lam : array_like
        Wavelengths, micron.
    detector : str
        NRS1 or NRS2.

    Returns
    -------
    numpy.ndarray
        Same shape.
    """
    return 1 + 0.02 * _wave(lam, 1.3, _detector_seed(detector) / 7)


def spectrograph_flat_spectrum(lam, detector):
    """How the spectrograph's flat varies with wavelength: 3%.

    Parameters
    ----------
    lam : array_like
        Wavelengths, micron.
    detector : str
        NRS1 or NRS2.

    Returns
    -------
    numpy.ndarray
        Same shape.
    """
    return 1 + 0.03 * _wave(lam, 0.9, _detector_seed(detector) / 11)


def fore_optics_flat(lam, quadrant):
    """How the flat of the fore optics and the MSA varies with wavelength and quadrant: 5% and 3%.

    Parameters
    ----------
    lam : array_like
        Wavelengths, micron.
    quadrant : int
        Quadrant of the MSA, 1 to 4.

    Returns
    -------
    numpy.ndarray
        Same shape as `lam`.
    """
    level = (0.98, 1.01, 0.97, 1.03)[quadrant - 1]
    return level * (1 + 0.05 * _wave(lam, 2.1, quadrant / 5))


def _detector_seed(detector):
    try:
        return DETECTOR_SEEDS[detector]
    except KeyError:
        raise InputError(f"there is no detector {detector!r}; say NRS1 or NRS2") from None


@cache
def detector_flat_image(detector):
    """Pixel-to-pixel pattern of a detector: white, 1% rms, always the same.

    Parameters
    ----------
    detector : str
        NRS1 or NRS2.

    Returns
    -------
    numpy.ndarray
        Shape ``(2048, 2048)``, float32, read-only.
    """
    random = np.random.default_rng(_detector_seed(detector))
    pattern = random.standard_normal(DETECTOR_SHAPE, dtype=np.float32)
    image = _in_steps(np.clip(pattern, -4, 4) * np.float32(FLAT_NOISE))
    image.flags.writeable = False
    return image


@cache
def flat_bad_pixels(detector):
    """Pixels that the detector's flat calls useless; jwst puts NaN there.

    Their light is counted all the same.

    Parameters
    ----------
    detector : str
        NRS1 or NRS2.

    Returns
    -------
    numpy.ndarray
        Shape ``(2048, 2048)``, bool, read-only.
    """
    random = np.random.default_rng([_detector_seed(detector), 1])
    mask = np.zeros(DETECTOR_SHAPE, dtype=bool)
    mask.flat[random.choice(mask.size, BAD_FLAT_PIXELS, replace=False)] = True
    mask.flags.writeable = False
    return mask


@cache
def spectrograph_flat_image(detector):
    """Uneven illumination of the spectrograph: two waves of 2% from row to row.

    Parameters
    ----------
    detector : str
        NRS1 or NRS2.

    Returns
    -------
    numpy.ndarray
        Shape ``(2048, 2048)``, float32, read-only; each row has one value.
    """
    row = np.arange(DETECTOR_SHAPE[0]) / DETECTOR_SHAPE[0]
    wave = _in_steps(0.02 * _wave(row, 0.5, _detector_seed(detector) / 13))
    return np.broadcast_to(wave[:, None], DETECTOR_SHAPE)


def _in_steps(pattern):
    """Round a pattern about 0 to steps and put it about 1."""
    steps = np.round(pattern / FLAT_STEP).astype(np.float32)
    return 1 + steps * np.float32(FLAT_STEP)


def pathloss_aperture(shutter_state):
    """Shutters of the aperture whose pathloss belongs to a slitlet.

    The rule is the documented one of jwst's ``pathloss`` step: a slitlet of two shutters lies
    midway between one and three; else a source whose neighbours are both closed has one, and any
    other has three.

    Parameters
    ----------
    shutter_state : str
        One character per shutter along the slit: ``x`` the source's, ``1`` open, ``0`` closed.

    Returns
    -------
    int
        1, 2 or 3.
    """
    if len(shutter_state) == 2:
        return 2
    source = shutter_state.index("x")
    neighbours = shutter_state[max(source - 1, 0) : source] + shutter_state[source + 1 : source + 2]
    return 3 if "1" in neighbours else 1


def uniform_pathloss(lam, shutters):
    """Pathloss of a uniform source, relative to that of a point source at the slit's centre.

    Polynomials of the fifth degree that follow the vectors for a uniform source in the first
    pathloss reference file of the NIRSpec team (ESA-JWST-SCI-NRS-TN-2016-004) within 2%.

    Parameters
    ----------
    lam : array_like
        Wavelengths, micron.
    shutters : int
        1, 2 or 3, see `pathloss_aperture`.

    Returns
    -------
    numpy.ndarray
        Same shape; NaN outside `LAM_RANGE`.
    """
    lam = np.asarray(lam, dtype=float)
    lam = np.where((lam >= LAM_RANGE[0]) & (lam <= LAM_RANGE[1]), lam, np.nan)
    scaled = (lam - 3.0) / 2.5
    one = np.polynomial.polynomial.polyval(
        scaled, [1.3956, 0.1499, 0.0732, 0.4756, 0.1206, -0.4706]
    )
    three = np.polynomial.polynomial.polyval(
        scaled, [1.3886, 0.1662, 0.0720, 0.4272, 0.0847, -0.4584]
    )
    return one + (three - one) * (shutters - 1) / 2


def point_pathloss(across, along, lam, shutters):
    """Light of a point source that passes the open shutters.

    The point spread function is a Gaussian of 0.032 arcsec per micron (full width, the documented
    diffraction limit) and no less than 0.05 arcsec. Nothing that is simulated depends on it; it
    makes jwst's reference file whole.

    Parameters
    ----------
    across, along : array_like
        Place of the source from the centre of its shutter, in pitches of the shutters.
    lam : array_like
        Wavelengths, micron.
    shutters : int
        Open shutters along the slit, an odd number.

    Returns
    -------
    numpy.ndarray
        Broadcast shape of the three; from 0.001 to 1.
    """
    sigma = np.maximum(0.032 * np.asarray(lam, dtype=float), 0.05) / np.sqrt(8 * np.log(2))
    light = 1.0
    for place, pitch, half in (
        (np.asarray(across, dtype=float), 0.268, 0.1958 / 2),
        (np.asarray(along, dtype=float), 0.526, 0.526 * (shutters - 1 + OPEN_FRACTION) / 2),
    ):
        distance = place * pitch
        light = light * (ndtr((distance + half) / sigma) - ndtr((distance - half) / sigma))
    return np.clip(light, 0.001, 1)


def bar_shadow(along, lam, shutter_state):
    """Light that the bars between the shutters let through, from a uniform source.

    The outer edges of a row of open shutters are blurred by about one pixel (an error function
    whose width grows with the wavelength, as diffraction does) and fall to a floor of 2%; each bar
    between two open shutters takes away a Gaussian of 20%.

    Parameters
    ----------
    along : array_like
        Place along the slit from the centre of the source's shutter, in pitches of the shutters
        (``y_slit`` / ``slit_yscale``).
    lam : array_like
        Wavelengths, micron; same shape.
    shutter_state : str
        One character per shutter along the slit: ``x`` the source's, ``1`` open, ``0`` closed.

    Returns
    -------
    numpy.ndarray
        Same shape, from 0.02 to 1.
    """
    along, lam = np.asarray(along, dtype=float), np.asarray(lam, dtype=float)
    blur = np.hypot(0.41 * PIXEL_HEIGHT, 0.0075 * np.clip(lam, *LAM_RANGE))
    light = np.zeros(np.broadcast_shapes(along.shape, lam.shape))
    for first, last in _open_runs(shutter_state):
        run = ndtr((along - first + OPEN_FRACTION / 2) / blur)
        run -= ndtr((along - last - OPEN_FRACTION / 2) / blur)
        for bar in np.arange(first, last) + 0.5:
            run *= 1 - BAR_DEPTH * np.exp(-0.5 * ((along - bar) / blur) ** 2)
        light += run
    return SHADOW_FLOOR + (1 - SHADOW_FLOOR) * light


def _open_runs(shutter_state):
    """First and last shutter of each row of open ones, counted from the source's shutter."""
    source = shutter_state.index("x")
    for is_open, run in groupby(enumerate(shutter_state), key=lambda item: item[1] != "0"):
        places = [place - source for place, _ in run]
        if is_open:
            yield places[0], places[-1]


@dataclass(frozen=True)
class Response:
    """Counts of the pixels of a slitlet from a uniform source of unit brightness.

    Parameters
    ----------
    grating, filter_ : str
        As in the keywords GRATING and FILTER.
    detector : str
        NRS1 or NRS2.

    Raises
    ------
    InputError
        If the grating or the detector is not modelled.
    """

    grating: str
    filter_: str
    detector: str

    def __post_init__(self):
        find_grating(self.grating, self.filter_)
        _detector_seed(self.detector)

    def __call__(self, lam, y_slit, xstart, ystart, quadrant, shutter_state, slit_yscale):
        """DN/s per MJy/sr.

        Parameters
        ----------
        lam, y_slit : array_like
            Shape ``(ny, nx)``: wavelength, micron, and place along the slit, slit units, of each
            pixel of a cutout.
        xstart, ystart : int
            Column and row of the cutout's first pixel on the detector, counted from 1, as
            ``SlitModel.xstart`` and ``ystart``.
        quadrant : int
            Quadrant of the MSA, 1 to 4.
        shutter_state : str
            One character per shutter along the slit: ``x`` the source's, ``1`` open, ``0`` closed.
        slit_yscale : float
            Pitch of the shutters along the slit over their open height, as
            ``SlitModel.slit_yscale``.

        Returns
        -------
        numpy.ndarray
            Shape ``(ny, nx)``; NaN where `lam` is NaN or not calibrated.
        """
        lam, y_slit = np.asarray(lam, dtype=float), np.asarray(y_slit, dtype=float)
        rows = slice(ystart - 1, ystart - 1 + lam.shape[0])
        columns = slice(xstart - 1, xstart - 1 + lam.shape[1])
        light = conversion(lam, self.grating, self.filter_)
        light *= uniform_pathloss(lam, pathloss_aperture(shutter_state))
        light *= bar_shadow(y_slit / slit_yscale, lam, shutter_state)
        light *= fore_optics_flat(lam, quadrant)
        light *= spectrograph_flat_spectrum(lam, self.detector)
        light *= spectrograph_flat_image(self.detector)[rows, columns]
        light *= detector_flat_spectrum(lam, self.detector)
        light *= detector_flat_image(self.detector)[rows, columns]
        return light
