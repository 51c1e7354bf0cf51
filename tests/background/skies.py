"""A galaxy of known brightness in a sky of known brightness, with noise as jwst states it."""

from dataclasses import replace

import numpy as np
from scene import SLIT_WIDTH, Y_UNIT, Blob, sample, survey, synthetic_template

from msa3d_steps.cube.sources import cutout_from_slit

LIMITS = (-2.4, 2.4)
READ_VARIANCE, POISSON = 0.01, 0.01  # (MJy/sr)^2 of a pixel, and for 1 MJy/sr


class Scene:
    """Exposures of blobs through a slit made of polynomials, 1.0 to 1.26 um, without noise.

    The places of the blobs (ra, dec) are arcsec across and along the slit.
    """

    def __init__(self, blobs, offsets, **template):
        template = {"shape": (26, 400), "dispersion": 6e-4, **template}
        self.template = synthetic_template(**template)
        self.sampling = sample(self.template.wcs, self.template.shape, LIMITS)
        to_sky = self.template.wcs.get_transform("slit_frame", "world")
        blobs = [
            replace(b, ra=ra, dec=dec)
            for b in blobs
            for ra, dec, _ in [to_sky(0.02 + b.ra / SLIT_WIDTH, 0.1 + b.dec / Y_UNIT, 1e-6)]
        ]
        self.slits = survey(self.template, offsets, blobs, sampling=self.sampling)
        self.cutouts = [cutout_from_slit(s, s.meta, s.meta.filename) for s in self.slits]
        self.cutouts = [replace(c, shutter_state="11x11") for c in self.cutouts]
        self.light = [np.array(c.data, float) for c in self.cutouts]

    def sky(self, spectrum):
        """Mean of a sky over the bandpass of each pixel."""
        sky = np.full(self.sampling.finite.shape, np.nan)
        lam = self.sampling.lam[:, self.sampling.finite] * 1e6
        sky[self.sampling.finite] = self.sampling.weight @ spectrum(lam)
        return sky

    def observe(self, spectrum=None, random=None):
        """Cutouts with sky and noise; the stated variance follows the noisy value."""
        sky = 0.0 if spectrum is None else self.sky(spectrum)
        return [
            self._observed(c, light + sky, random)
            for c, light in zip(self.cutouts, self.light, strict=True)
        ]

    def _observed(self, cutout, light, random):
        read = np.full(light.shape, READ_VARIANCE)
        data = light
        if random is not None:
            data = light + np.sqrt(read + POISSON * light) * random.standard_normal(light.shape)
        variance = read + POISSON * np.maximum(data, 0)
        arrays = {"data": data, "variance": variance, "read_variance": read}
        return replace(cutout, **{k: a.astype(np.float32) for k, a in arrays.items()})


def galaxy(sigma=0.12, flux=0.2):
    """A round galaxy with a continuum of a slope and a line; arcsec, MJy/sr arcsec2."""
    return [
        Blob(flux, 0.0, 0.0, sigma, slope=0.3),
        Blob(0.01 * flux, 0.0, 0.0, sigma, line=1.1, width=8e-4),
    ]


def power_law(level, slope):
    return lambda lam: level * (lam / 1.1) ** slope
