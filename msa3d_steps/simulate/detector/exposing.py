"""From a noise-free rate image to a rate exposure as NIRSpec's detectors and the ramp fit give it.

The exposure is made from the light that all its groups collected together, not group by group: the
effect of the ramp fit on noise and cosmic rays is put in with the formulas that hold for it.
"""

import logging
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from stdatamodels.jwst.datamodels.dqflags import pixel as dqflags

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.detector.cosmic_rays import AREA, deposit, draw_snowballs, draw_tracks
from msa3d_steps.simulate.detector.noise import SHAPE, draw_counts, draw_flicker, ramp_read_noise

__all__ = ["BORDER", "DETECTORS", "SHAPE", "Exposure", "NoiseModel", "expose", "ramp_read_noise"]

log = logging.getLogger(__name__)

DETECTORS = ("NRS1", "NRS2")
BORDER = 4
"""Width of the frame of reference pixels."""

_REJECTED = np.uint32(dqflags["DO_NOT_USE"])
_JUMP_THRESHOLD = 5.0  # in units of the read noise: about what a 4-sigma jump step finds


@dataclass(frozen=True)
class NoiseModel:
    """What the detectors add to the light.

    Parameters
    ----------
    gain : tuple of float
        Electrons per DN of NRS1 and NRS2. Near unity in full frame (JDox, "NIRSpec Detector
        Performance"); the two numbers are modelled within that statement.
    read_noise : float
        Electrons rms that reading leaves in slope times exposure time; see `ramp_read_noise`.
        The requirement was a total noise below 6 electrons in 1000 s of darkness (JDox, "NIRSpec
        Detector Readout Modes and Patterns"); with the dark current the default gives 4.9.
    dark_current : tuple of float
        e-/s of NRS1 and NRS2, modelled; the requirement was 0.01 (Rauscher et al. 2014, PASP 126,
        739). Its mean is not in the data, as after jwst's dark step; its noise is.
    noise : bool
        If False, no photon, read or 1/f noise and no cosmic ray is added; the stated variances are
        the same.
    noise_scale : float
        Factor on photon, read and 1/f noise and on the stated standard deviations.
    flicker : float
        Electrons rms of 1/f noise, common to the four outputs, in slope times exposure time.
        Rauscher (2015, PASP 127, 1144) gives 3 for traditional readout; IRS2 was made to remove it
        (Rauscher et al. 2017, PASP 129, 105003), so the default is 0. The stated variances leave it
        out, as jwst's do.
    cosmic_ray_rate : float
        Hits per cm^2 and second: 4.3 (2022) to 2.3 (2025) in NIRSpec (Rauscher & Fixsen 2025, PASP
        137, 095003).
    cosmic_ray_survival : float
        Share of the hits that the jump step does not find, so that they stay in the data; modelled.
        The others are flagged JUMP_DET; that a ramp cut in two is noisier is left out.
    snowball_rate : float
        Snowballs per second and detector; about 0.05 (JDox, "Shower and Snowball Artifacts"). The
        share that survives is that of the cosmic rays.
    hot_fraction, dead_fraction : float
        Share of hot and dead pixels. In cutouts of real exposures 0.0008 are HOT and 0.0014 DEAD.
    warm_fraction : float
        Share of pixels with a dark current of 0.03 to 0.3 e-/s that no flag tells of.
    mask_hot : bool
        Whether hot pixels are also DO_NOT_USE, as they are in real exposures. If not, they keep
        their dark current of 0.3 to 30 e-/s in the data.
    pattern_seed : int
        Seed of the bad pixels, which belong to the detector, not to the exposure.
    """

    gain: tuple = (1.0, 1.1)
    read_noise: float = 4.0
    dark_current: tuple = (0.008, 0.008)
    noise: bool = True
    noise_scale: float = 1.0
    flicker: float = 0.0
    cosmic_ray_rate: float = 3.0
    cosmic_ray_survival: float = 0.02
    snowball_rate: float = 0.0
    hot_fraction: float = 0.0008
    dead_fraction: float = 0.0014
    warm_fraction: float = 0.0
    mask_hot: bool = True
    pattern_seed: int = 0

    def __post_init__(self):
        for name in ("gain", "dark_current"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        shares = (self.hot_fraction, self.dead_fraction, self.warm_fraction)
        shares += (self.cosmic_ray_survival,)
        levels = (self.read_noise, self.noise_scale, self.flicker, *self.dark_current)
        levels += (self.cosmic_ray_rate, self.snowball_rate)
        if len(self.gain) != 2 or len(self.dark_current) != 2 or not min(self.gain) > 0:
            raise InputError("gain (above zero) and dark current are pairs: one for each detector")
        if not (min(levels) >= 0 and min(shares) >= 0 and max(shares) <= 1):
            raise InputError("noise, rates and shares cannot be negative, nor shares above 1")

    def quiet(self):
        """Make the model without noise and bad pixels; the variances stay.

        Returns
        -------
        NoiseModel
            The model.
        """
        return replace(self, noise=False, hot_fraction=0.0, warm_fraction=0.0, dead_fraction=0.0)

    def scaled(self, factor):
        """Make the model whose noise, and the ERR that states it, are scaled.

        Parameters
        ----------
        factor : float
            Factor on the standard deviation.

        Returns
        -------
        NoiseModel
            The model.
        """
        return replace(self, noise_scale=self.noise_scale * factor)


@dataclass(frozen=True)
class Exposure:
    """A rate exposure of one detector; all arrays ``(2048, 2048)`` in DMS orientation.

    Parameters
    ----------
    data : array
        DN/s, float32; NaN where DO_NOT_USE, as are ``err`` and the variances.
    err : array
        DN/s, float32; the root of the sum of the variances.
    var_poisson, var_rnoise : array
        (DN/s)^2, float32; from the expected counts, not from the noisy ones, so that weights by
        inverse variance do not depend on the noise.
    dq : array
        jwst's flags, uint32.
    noise_free : array
        DN/s, float32; the light without anything added.
    cosmic_rays : array
        bool; exactly the pixels whose ``data`` a cosmic ray changed.
    """

    data: np.ndarray
    err: np.ndarray
    var_poisson: np.ndarray
    var_rnoise: np.ndarray
    dq: np.ndarray
    noise_free: np.ndarray
    cosmic_rays: np.ndarray


def expose(rate, exposure_time, detector, noise_model=None, seed=0, exposure_number=0):
    """Expose a detector to a known light.

    Photons and dark current are Poisson-distributed counts; reading adds Gaussian noise. The
    variances are those that jwst's ramp fit states: ``rate / (gain t)`` for the counts, the dark
    current's included, and ``(read noise / (gain t))^2``. The same arguments give the same bits;
    each effect has its own random numbers, so that an exposure without cosmic rays has the same
    noise as one with.

    Parameters
    ----------
    rate : array
        Light in DN/s, ``(2048, 2048)``, DMS orientation.
    exposure_time : float
        Effective exposure time in s, of all integrations.
    detector : str
        ``"NRS1"`` or ``"NRS2"``.
    noise_model : NoiseModel, optional
        What the detector adds; the default one if not given.
    seed : int
        Seed of the survey.
    exposure_number : int
        Number of the exposure in the survey.

    Returns
    -------
    Exposure
        The exposure.

    Raises
    ------
    InputError
        If the detector is not known, the light has another shape or is not finite, or there is no
        exposure time.
    """
    model = noise_model or NoiseModel()
    rate = np.array(rate, np.float32)
    _check(rate, exposure_time, detector)
    gain = model.gain[DETECTORS.index(detector)]
    pattern = _fixed_pattern(
        detector, model.dark_current, model.hot_fraction, model.dead_fraction,
        model.warm_fraction, model.mask_hot, model.pattern_seed,
    )  # fmt: skip
    photons, reading, drift, particles = _generators(seed, exposure_number, detector)
    unit = np.float32(1 / (gain * exposure_time))  # DN/s per electron

    expected = np.maximum(rate, 0) / unit
    expected += pattern.dark * np.float32(exposure_time)
    scale = np.float32(model.noise_scale)
    var_poisson = expected * (unit * scale) ** 2
    var_rnoise = np.full(SHAPE, (model.read_noise * unit * scale) ** 2, np.float32)
    data = rate + pattern.residual * np.float32(1 / gain)
    dq = pattern.dq.copy()
    cosmic_rays = np.zeros(SHAPE, bool)
    if model.noise:
        noise = draw_counts(photons, expected) - expected
        noise += np.float32(model.read_noise) * reading.standard_normal(SHAPE, np.float32)
        if model.flicker:
            noise += model.flicker * draw_flicker(drift, detector)
        data += noise * (unit * scale)
        charge, found = _particles(particles, exposure_time, model)
        with_charge = data + charge * unit
        usable = (dq & _REJECTED) == 0
        cosmic_rays = (with_charge != data) & usable
        data = with_charge
        dq[found & usable] |= dqflags["JUMP_DET"]

    rejected = (dq & _REJECTED) != 0
    err = np.sqrt(var_poisson + var_rnoise)
    for values in (data, err, var_poisson, var_rnoise):
        values[rejected] = np.nan
    log.debug("%s %s: cosmic rays in %d pixels", detector, exposure_number, cosmic_rays.sum())
    return Exposure(data, err, var_poisson, var_rnoise, dq, rate, cosmic_rays)


@dataclass(frozen=True)
class _FixedPattern:
    """Dark current (e-/s), what the dark step leaves of it (e-/s) and flags of every pixel."""

    dark: np.ndarray
    residual: np.ndarray
    dq: np.ndarray


@lru_cache(maxsize=4)
def _fixed_pattern(detector, dark_current, hot, dead, warm, mask_hot, seed):
    """Draw the bad pixels of a detector."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, DETECTORS.index(detector))))
    residual = np.zeros(SHAPE, np.float32)
    dq = np.zeros(SHAPE, np.uint32)
    lot = rng.random(SHAPE)
    level = 10 ** rng.uniform(-0.5, 1.5, SHAPE).astype(np.float32)
    is_dead, is_hot = lot < dead, lot > 1 - hot
    is_warm = (lot > 1 - hot - warm) & ~is_hot
    residual[is_hot] = level[is_hot]
    residual[is_warm] = 0.1 * np.sqrt(level[is_warm])
    dq[is_hot] |= dqflags["HOT"] | (dqflags["DO_NOT_USE"] if mask_hot else 0)
    dq[is_dead] |= dqflags["DEAD"] | dqflags["DO_NOT_USE"]
    border = np.ones(SHAPE, bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    dq[border] = dqflags["REFERENCE_PIXEL"] | dqflags["DO_NOT_USE"]
    residual[border] = 0
    dark = residual + np.float32(dark_current[DETECTORS.index(detector)])
    for values in (dark, residual, dq):
        values.flags.writeable = False
    return _FixedPattern(dark, residual, dq)


def _check(rate, exposure_time, detector):
    """Raise if the arguments of an exposure make no sense."""
    if detector not in DETECTORS:
        raise InputError(f"there is no detector {detector!r}; it is one of {', '.join(DETECTORS)}")
    if rate.shape != SHAPE:
        raise InputError(f"the rate image of {detector} is {rate.shape}; it must be {SHAPE}")
    if not np.isfinite(rate).all():
        raise InputError(f"the rate image of {detector} has values that are not finite")
    if not exposure_time > 0:
        raise InputError(f"the exposure time is {exposure_time} s; it must be above zero")


def _generators(seed, exposure_number, detector):
    """Independent random numbers for photons, reading, drift and particles."""
    root = np.random.SeedSequence((seed, exposure_number, DETECTORS.index(detector)))
    return [np.random.Generator(np.random.SFC64(child)) for child in root.spawn(4)]


def _particles(rng, exposure_time, model):
    """Charge that cosmic rays leave in the counts (e-), and where the jump step found them.

    A step of charge q after a share u of the ramp changes the slope of a straight line fitted with
    equal weights by ``6 u (1 - u) q`` over the exposure time.
    """
    n = rng.poisson(model.cosmic_ray_rate * AREA * exposure_time)
    tracks = draw_tracks(rng, n, SHAPE)
    missed = rng.random(n) < model.cosmic_ray_survival
    when = rng.random(n)
    found = deposit(tracks[~missed], SHAPE) > _JUMP_THRESHOLD * model.read_noise
    left = replace(tracks[missed], charge=(tracks.charge * 6 * when * (1 - when))[missed])
    charge = deposit(left, SHAPE)
    snowballs = rng.poisson(model.snowball_rate * exposure_time)
    if snowballs:
        n_left = rng.binomial(snowballs, model.cosmic_ray_survival)
        charge += draw_snowballs(rng, n_left, SHAPE)
        found |= draw_snowballs(rng, snowballs - n_left, SHAPE) > _JUMP_THRESHOLD * model.read_noise
    return charge, found
