"""An analytic scene seen through a WCS: exposures whose truth is known.

Pixels are averaged over their footprint by Gauss-Legendre quadrature of the scene at positions that
the WCS itself gives, one by one; nothing of the package's own geometry is used.
"""

from dataclasses import dataclass, replace

import gwcs
import numpy as np
from jwst.assign_wcs.pointing import v23tosky
from stdatamodels.jwst.datamodels import SlitModel

N_ACROSS, N_ALONG, N_WAVE = 4, 3, 4


@dataclass(frozen=True)
class Blob:
    """A Gaussian on the sky with a Gaussian line, or a straight continuum (line None)."""

    flux: float  # MJy/sr arcsec^2 (times um for a line)
    ra: float
    dec: float
    sigma: float  # arcsec
    line: float | None = None  # um
    width: float = 0.0  # um
    slope: float = 0.0  # of the continuum, per um about 2 um

    def spectrum(self, lam):
        if self.line is None:
            return 1 + self.slope * (lam - 2)
        peak = 1 / (np.sqrt(2 * np.pi) * self.width)
        return peak * np.exp(-0.5 * ((lam - self.line) / self.width) ** 2)

    def image(self, ra, dec):
        xi = (ra - self.ra) * np.cos(np.deg2rad(self.dec)) * 3600
        eta = (dec - self.dec) * 3600
        peak = self.flux / (2 * np.pi * self.sigma**2)
        return peak * np.exp(-0.5 * (xi**2 + eta**2) / self.sigma**2)


def gauss(n):
    x, w = np.polynomial.legendre.leggauss(n)
    return x / 2, w / 2


@dataclass(frozen=True)
class Sampling:
    """Slit coordinates and weights of the quadrature nodes of every pixel of a cutout."""

    y_slit: np.ndarray  # (ny, nx, nodes)
    lam: np.ndarray
    weight: np.ndarray  # (nodes,)
    finite: np.ndarray  # (ny, nx)


def sample(wcs, shape):
    dy, wy = gauss(N_ALONG)
    dx, wx = gauss(N_WAVE)
    to_slit = wcs.get_transform("detector", "slit_frame")
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    offsets = [(a, b, u * v) for a, u in zip(dy, wy, strict=True) for b, v in zip(dx, wx, strict=True)]
    nodes = [to_slit(x + b, y + a)[1:] for a, b, _ in offsets]
    y_slit, lam = (np.stack([n[i] for n in nodes], axis=-1) for i in (0, 1))
    finite = np.isfinite(y_slit).all(axis=-1) & np.isfinite(lam).all(axis=-1)
    finite &= np.isfinite(to_slit(x, y - 0.5)[2]) & np.isfinite(to_slit(x, y + 0.5)[2])
    return Sampling(y_slit, lam, np.array([o[2] for o in offsets]), finite)


def observe(blobs, wcs, sampling):
    """Mean of the scene over the footprint of every pixel, NaN off the slit."""
    to_sky = wcs.get_transform("slit_frame", "world")
    middle = np.nanmedian(sampling.lam)
    # the slit lies on the sky by an affine map to 1e-4 arcsec (a test of its own says so)
    x0, y0 = np.array([0.0, 0.5, 0.0]), np.array([0.0, 0.0, 2.0])
    ra, dec, _ = to_sky(x0, y0, np.full(3, middle))
    ra_x, ra_y = (ra[1] - ra[0]) * 2, (ra[2] - ra[0]) / 2
    dec_x, dec_y = (dec[1] - dec[0]) * 2, (dec[2] - dec[0]) / 2
    total = np.zeros(sampling.lam.shape)
    for blob in blobs:
        light = 0.0
        for x, w in zip(*gauss(N_ACROSS), strict=True):
            light = light + w * blob.image(
                ra[0] + x * ra_x + sampling.y_slit * ra_y,
                dec[0] + x * dec_x + sampling.y_slit * dec_y,
            )
        total += light * blob.spectrum(sampling.lam * 1e6)
    data = total @ sampling.weight
    return np.where(sampling.finite, data, np.nan)


def move(template, across, along):
    """The WCS and the pointing of an exposure that is moved on the sky (arcsec)."""
    wcs = template.meta.wcs
    to_sky = wcs.get_transform("slit_frame", "world")
    ra, dec, _ = to_sky(np.array([0, 0.5, 0.0]), np.array([0, 0, 1.0]), np.full(3, 2e-6))
    cos = np.cos(np.deg2rad(dec[0]))
    unit_y = np.array([(ra[2] - ra[0]) * cos, dec[2] - dec[0]])
    unit_y /= np.hypot(*unit_y)
    unit_x = np.array([unit_y[1], -unit_y[0]])
    shift = (across * unit_x + along * unit_y) / 3600
    info = template.meta.wcsinfo
    moved = SlitModel()
    for key in ("v2_ref", "v3_ref", "roll_ref"):
        setattr(moved.meta.wcsinfo, key, getattr(info, key))
    moved.meta.wcsinfo.ra_ref = info.ra_ref + shift[0] / cos
    moved.meta.wcsinfo.dec_ref = info.dec_ref + shift[1]
    steps = [(s.frame, s.transform) for s in wcs.pipeline]
    frame, old = steps[-2]
    if not isinstance(frame, str) and frame.name == "v2v3vacorr":
        new = v23tosky(moved)
        steps[-2] = (frame, new if new.n_inputs == old.n_inputs else new & old[-1])
    else:  # the synthetic WCS ends in a projection about the pointing
        steps[-2] = (frame, old.at(moved.meta.wcsinfo.ra_ref, moved.meta.wcsinfo.dec_ref))
    return gwcs.WCS(steps), moved.meta.wcsinfo.ra_ref, moved.meta.wcsinfo.dec_ref


def pattern(n_steps=9, n_dithers=7, step=0.2, dither=0.075):
    """Offsets of a full survey, arcsec, about the middle."""
    across = step * (np.arange(n_steps) - (n_steps - 1) / 2)
    along = dither * (np.arange(n_dithers) - (n_dithers - 1) / 2)
    return [(a, b) for a in across for b in along]


def survey(template, offsets, blobs, *, sampling=None, error=0.01, time=1000.0):
    """SlitModels of a survey of the scene, noise-free."""
    shape = template.data.shape
    sampling = sampling or sample(template.meta.wcs, shape)
    models = []
    for i, (across, along) in enumerate(offsets):
        wcs, ra_ref, dec_ref = move(template, across, along)
        data = observe(blobs, wcs, sampling).astype(np.float32)
        model = slit_model(template, data, error)
        model.meta.wcs = wcs
        model.meta.wcsinfo.ra_ref, model.meta.wcsinfo.dec_ref = ra_ref, dec_ref
        model.meta.filename = f"jw02136001001_03101_{i + 1:05d}_nrs2_cal.fits"
        model.meta.observation.exposure_number = str(i + 1)
        model.meta.exposure.exposure_time = model.meta.exposure.effective_exposure_time = time
        models.append(model)
    return models


def slit_model(template, data, error):
    model = SlitModel(data=data)
    bad = ~np.isfinite(data)
    model.dq = bad.astype(np.uint32)
    model.err = np.where(bad, np.nan, error).astype(np.float32)
    model.var_rnoise = np.where(bad, np.nan, 0.5 * error**2).astype(np.float32)
    model.var_poisson = model.var_rnoise.copy()
    meta = model.meta
    meta.instrument.name, meta.exposure.type = "NIRSPEC", "NRS_MSASPEC"
    meta.instrument.detector = template.meta.instrument.detector
    meta.instrument.grating = template.meta.instrument.grating
    meta.instrument.filter = template.meta.instrument.filter
    meta.bunit_data = meta.bunit_err = "MJy/sr"
    meta.observation.program_number, meta.observation.observation_number = "02136", "001"
    meta.observation.visit_number, meta.observation.visit_id = "001", "02136001001"
    meta.observation.visit_group, meta.observation.sequence_id = "03", "1"
    meta.observation.activity_id, meta.observation.date = "01", "2023-04-01"
    meta.observation.time = "00:00:00.000"
    model.name, model.source_id, model.source_name = "138", 933, "1345_933"
    model.source_ra, model.source_dec = template.source_ra, template.source_dec
    return model


def with_line_only(blob, line, width):
    return replace(blob, line=line, width=width)
