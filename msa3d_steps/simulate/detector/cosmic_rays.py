"""Cosmic rays in the detectors of NIRSpec: where they hit and which charge they leave."""

from dataclasses import dataclass

import numpy as np
from scipy.special import erf

__all__ = ["AREA", "DEPTH", "PIXEL", "Tracks", "deposit", "draw_snowballs", "draw_tracks"]

PIXEL = 18.0
"""Pixel pitch in um."""
AREA = (2048 * PIXEL * 1e-4) ** 2
"""Area of a detector in cm^2."""
DEPTH = 5.0
"""Thickness in um of the layer that collects charge."""

_ENERGY_LOSS = 745.0
"""Electrons per um of path: 0.86 keV/um and 5200 electrons per 6 keV."""
_DIFFUSION = 0.3
"""Standard deviation in pixels of the charge cloud around the track (modelled)."""
_CROSSTALK = 0.01
"""Share of a pixel's charge that each of its four neighbours shows (interpixel capacitance)."""
_SPACING = 0.5
"""Distance in pixels of the charge clouds that a track is made of."""
_SNOWBALL_RADIUS = 12.0
_SNOWBALL_CHARGE = 2e6


@dataclass(frozen=True)
class Tracks:
    """Straight tracks of charge.

    Parameters
    ----------
    x, y : array
        Where each starts, in pixels ``(n,)``.
    length : array
        Length of its projection on the detector in pixels, ``(n,)``.
    angle : array
        Direction of the projection from x to y in radian, ``(n,)``.
    charge : array
        Electrons it leaves, ``(n,)``.
    """

    x: np.ndarray
    y: np.ndarray
    length: np.ndarray
    angle: np.ndarray
    charge: np.ndarray

    def __len__(self):
        return len(self.x)

    def __getitem__(self, which):
        fields = (self.x, self.y, self.length, self.angle, self.charge)
        return Tracks(*(values[which] for values in fields))


def draw_tracks(rng, n, shape):
    """Draw cosmic rays that come from all directions.

    The flux through a surface of rays that come evenly from all directions has a distribution of
    ``2 cos(t) d cos(t)`` in the angle t to the normal. With a layer of thickness d, the projected
    length is ``d tan(t)`` and exceeds l with the probability ``1 / (1 + (l / d)^2)``; the path is
    ``d / cos(t)``. The charge is the path times the mean energy loss, with the fluctuations of a
    Moyal distribution (Moyal 1955, Phil. Mag. 46, 263). Figures after Rauscher & Fixsen (2025, PASP
    137, 095003), who find in NIRSpec's darks a typical hit of 6 keV or 5200 electrons and an energy
    loss of 0.86 keV/um; the thickness of 5 um reproduces them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of random numbers.
    n : int
        How many.
    shape : tuple of int
        Shape ``(ny, nx)`` of the detector.

    Returns
    -------
    Tracks
        The tracks.
    """
    cosine = np.sqrt(1 - rng.random(n))
    fluctuation = 0.8 - 0.16 * np.log(rng.standard_normal(n) ** 2)  # mean 1
    return Tracks(
        x=rng.uniform(-0.5, shape[1] - 0.5, n),
        y=rng.uniform(-0.5, shape[0] - 0.5, n),
        length=DEPTH / PIXEL * np.sqrt(1 / cosine**2 - 1),
        angle=rng.uniform(0, 2 * np.pi, n),
        charge=_ENERGY_LOSS * DEPTH / cosine * fluctuation,
    )


def deposit(tracks, shape):
    """Spread the charge of tracks over the pixels.

    Each track is a row of Gaussian charge clouds; the crosstalk between neighbouring pixels
    (Rauscher & Fixsen 2025 find 7.1 pixels affected by a typical hit) is added. Less than one
    electron in a pixel is dropped.

    Parameters
    ----------
    tracks : Tracks
        The tracks.
    shape : tuple of int
        Shape ``(ny, nx)`` of the detector.

    Returns
    -------
    array
        Electrons, ``(ny, nx)``, float32.
    """
    longest = np.hypot(*shape)
    clouds = 1 + (np.minimum(tracks.length, longest) / _SPACING).astype(int)
    track = np.repeat(np.arange(len(tracks)), clouds)
    number = np.arange(len(track)) - np.repeat(np.cumsum(clouds) - clouds, clouds)
    along = (number + 0.5) / clouds[track] * tracks.length[track]
    x = tracks.x[track] + along * np.cos(tracks.angle[track])
    y = tracks.y[track] + along * np.sin(tracks.angle[track])
    charge = tracks.charge[track] / clouds[track]
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    share_x, share_y = _shares(x - column), _shares(y - row)
    step = np.array([-1, 0, 1])
    columns, rows = column[:, None] + step, row[:, None] + step
    pixels = rows[:, :, None] * shape[1] + columns[:, None, :]
    inside = ((rows >= 0) & (rows < shape[0]))[:, :, None]
    inside = inside & ((columns >= 0) & (columns < shape[1]))[:, None, :]
    electrons = charge[:, None, None] * share_y[:, :, None] * share_x[:, None, :]
    image = np.bincount(pixels[inside], electrons[inside], shape[0] * shape[1])
    return _with_crosstalk(image.astype(np.float32).reshape(shape))


def draw_snowballs(rng, n, shape):
    """Draw snowballs: round clouds of charge of hundreds of pixels.

    Modelled as an exponential surface density; radius and charge are order-of-magnitude figures
    (JDox, "Shower and Snowball Artifacts": hundreds of pixels each, one in 20 s per detector).

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of random numbers.
    n : int
        How many.
    shape : tuple of int
        Shape ``(ny, nx)`` of the detector.

    Returns
    -------
    array
        Electrons, ``(ny, nx)``, float32.
    """
    scale = 0.3 * _SNOWBALL_RADIUS * rng.lognormal(0, 0.3, n)[:, None, None]
    reach = np.arange(-5 * int(_SNOWBALL_RADIUS), 5 * int(_SNOWBALL_RADIUS) + 1)
    x, y = rng.integers(0, shape[1], n), rng.integers(0, shape[0], n)
    distance = np.hypot(reach[:, None], reach)[None]
    electrons = _SNOWBALL_CHARGE * np.exp(-distance / scale) / (2 * np.pi * scale**2)
    columns, rows = x[:, None] + reach, y[:, None] + reach
    pixels = rows[:, :, None] * shape[1] + columns[:, None, :]
    inside = ((rows >= 0) & (rows < shape[0]))[:, :, None]
    inside = inside & ((columns >= 0) & (columns < shape[1]))[:, None, :] & (electrons >= 1)
    image = np.bincount(pixels[inside], electrons[inside], shape[0] * shape[1])
    return image.astype(np.float32).reshape(shape)


def _shares(offset):
    """Share of a cloud in the pixel below, the one that it is in, and the one above."""
    edges = erf((np.array([-0.5, 0.5]) - offset[:, None]) / (np.sqrt(2) * _DIFFUSION))
    low, high = 0.5 * (1 + edges[:, 0]), 0.5 * (1 - edges[:, 1])
    return np.stack([low, 1 - low - high, high], axis=-1)


def _with_crosstalk(image):
    """Let every pixel show a share of its charge in its four neighbours."""
    shown = (1 - 4 * _CROSSTALK) * image
    leak = _CROSSTALK * image
    shown[1:] += leak[:-1]
    shown[:-1] += leak[1:]
    shown[:, 1:] += leak[:, :-1]
    shown[:, :-1] += leak[:, 1:]
    shown[shown < 1] = 0
    return shown
