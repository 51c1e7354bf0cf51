"""An analytic scene seen through a WCS: exposures whose truth is known.

Pixels are averaged over their footprint by Gauss-Legendre quadrature of the scene at positions that
the WCS itself gives, one by one; nothing of the package's own geometry is used.
"""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import gwcs
import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS
from astropy.modeling.models import (
    AffineTransformation2D,
    Const1D,
    Identity,
    Mapping,
    Pix2Sky_TAN,
    Polynomial2D,
    RotateNative2Celestial,
    Scale,
)
from gwcs import coordinate_frames as cf
from jwst.assign_wcs.pointing import v23tosky
from stdatamodels.jwst.datamodels import MultiSlitModel, SlitModel

from msa3d_steps.cube.inputs import Selection
from msa3d_steps.cube.reading import cutouts_of_model

N_ACROSS, N_ALONG, N_WAVE = 4, 3, 4
SLIT_WIDTH, Y_UNIT = 0.1958, 0.4575  # arcsec for one unit of x_slit and y_slit


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
        xi = (ra - self.ra) * (np.cos(np.deg2rad(self.dec)) * 3600)
        eta = (dec - self.dec) * 3600
        peak = self.flux / (2 * np.pi * self.sigma**2)
        return peak * np.exp((xi**2 + eta**2) * (-0.5 / self.sigma**2))


@dataclass(frozen=True)
class Template:
    """A slit that can be moved on the sky."""

    wcs: gwcs.WCS
    shape: tuple
    pointing: tuple  # ra, dec of the telescope, degrees
    repoint: object  # (ra, dec) -> last transform
    meta: SimpleNamespace
    source: tuple  # ra, dec, degrees

    def at(self, across, along):
        """The WCS and pointing after a move on the sky, arcsec across and along the slit."""
        to_sky = self.wcs.get_transform("slit_frame", "world")
        ra, dec, _ = to_sky(np.array([0, 0.0]), np.array([0, 1.0]), np.full(2, 2e-6))
        cos = np.cos(np.deg2rad(dec[0]))
        unit_y = np.array([(ra[1] - ra[0]) * cos, dec[1] - dec[0]])
        unit_y /= np.hypot(*unit_y)
        unit_x = np.array([unit_y[1], -unit_y[0]])
        shift = (across * unit_x + along * unit_y) / 3600
        pointing = (self.pointing[0] + shift[0] / cos, self.pointing[1] + shift[1])
        steps = [(s.frame, s.transform) for s in self.wcs.pipeline]
        steps[-2] = (steps[-2][0], self.repoint(*pointing))
        return gwcs.WCS(steps), pointing


def real_template(model):
    """The WCS of a real exposure."""
    info = model.meta.wcsinfo
    last = model.meta.wcs.pipeline[-2].transform

    def repoint(ra, dec):
        moved = SlitModel()
        for key in ("v2_ref", "v3_ref", "roll_ref"):
            setattr(moved.meta.wcsinfo, key, getattr(info, key))
        moved.meta.wcsinfo.ra_ref, moved.meta.wcsinfo.dec_ref = ra, dec
        new = v23tosky(moved)
        return new if new.n_inputs == last.n_inputs else new & last[-1]

    return Template(
        model.meta.wcs,
        model.data.shape,
        (info.ra_ref, info.dec_ref),
        repoint,
        _meta("NRS2", "PRISM", "CLEAR"),
        (model.source_ra, model.source_dec),
    )


def synthetic_template(
    detector="NRS1",
    shape=(26, 90),
    start=1.0,
    dispersion=2.4e-3,
    angle=37.0,
    grating=("G140M", "F100LP"),
):
    """A slit with a tilted, curved trace, made of polynomials."""
    ny = shape[0]
    middle = (ny - 1) / 2
    wavelength = Polynomial2D(
        2, c0_0=(start - 0.1 * dispersion * middle) * 1e-6, c1_0=dispersion * 1e-6,
        c0_1=0.1 * dispersion * 1e-6, c2_0=dispersion * 2e-10,
    )  # fmt: skip
    pixel = -0.1045 / Y_UNIT
    y_slit = Polynomial2D(2, c0_0=-pixel * middle, c0_1=pixel, c1_0=4e-4, c2_0=-3e-6)
    to_slit = Mapping((0, 0, 1, 0, 1), n_inputs=2) | (Const1D(0) & y_slit & wavelength)
    s, c = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    matrix = np.array([[c * SLIT_WIDTH, s * Y_UNIT], [-s * SLIT_WIDTH, c * Y_UNIT]]) / 3600
    plane = AffineTransformation2D(matrix=matrix, translation=[1e-4, -2e-4])

    def repoint(ra, dec):
        sky = plane | Scale(-1) & Identity(1) | Pix2Sky_TAN()
        return (sky | RotateNative2Celestial(ra, dec, 180)) & Scale(1e6)

    pointing = (150.1, 2.2)
    steps = [
        (cf.Frame2D(name="detector"), Identity(2)),
        (cf.Frame2D(name="gwa"), to_slit),
        (_slit_frame(), repoint(*pointing)),
        (_world(), None),
    ]
    wcs = gwcs.WCS(steps)
    ra, dec, _ = wcs.get_transform("slit_frame", "world")(0.02, 0.1, 1e-6)
    return Template(
        wcs, shape, pointing, repoint, _meta(detector, *grating), (float(ra), float(dec))
    )


def _slit_frame():
    return cf.CoordinateFrame(
        3, axes_type=["SPATIAL", "SPATIAL", "SPECTRAL"], axes_order=(0, 1, 2),
        unit=[u.one, u.one, u.m], axes_names=("x_slit", "y_slit", "lam"), name="slit_frame",
    )  # fmt: skip


def _world():
    sky = cf.CelestialFrame(name="sky", axes_order=(0, 1), reference_frame=ICRS())
    wave = cf.SpectralFrame(name="wave", axes_order=(2,), unit=(u.um,), axes_names=("lam",))
    return cf.CompositeFrame([sky, wave], name="world")


def _meta(detector, grating, filter_):
    return SimpleNamespace(detector=detector, grating=grating, filter=filter_)


@dataclass(frozen=True)
class Sampling:
    """Slit coordinates and weights of the quadrature nodes of every pixel of a cutout."""

    y_slit: np.ndarray  # (nodes, ny, nx)
    lam: np.ndarray
    weight: np.ndarray  # (nodes,)
    finite: np.ndarray  # (ny, nx)


def gauss(n):
    x, w = np.polynomial.legendre.leggauss(n)
    return x / 2, w / 2


def sample(wcs, shape, limits=(-np.inf, np.inf)):
    to_slit = wcs.get_transform("detector", "slit_frame")
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    along = list(zip(*gauss(N_ALONG), strict=True))
    wave = list(zip(*gauss(N_WAVE), strict=True))
    nodes = [(to_slit(x + b, y + a), v * w) for a, v in along for b, w in wave]
    y_slit = np.stack([n[0][1] for n in nodes])
    lam = np.stack([n[0][2] for n in nodes])
    ends = [to_slit(x, y + d)[1] for d in (-0.5, 0.5)]
    finite = np.isfinite(lam).all(axis=0)
    for end in ends:
        finite &= np.isfinite(end) & (end > limits[0]) & (end < limits[1])
    return Sampling(y_slit, lam, np.array([n[1] for n in nodes]), finite)


def observe(blobs, wcs, sampling):
    """Mean of the scene over the footprint of every pixel, NaN off the slit."""
    to_sky = wcs.get_transform("slit_frame", "world")
    middle = np.nanmedian(sampling.lam)
    # the slit lies on the sky by an affine map to 1e-4 arcsec (a test of its own says so)
    x0, y0 = np.array([0.0, 0.5, 0.0]), np.array([0.0, 0.0, 2.0])
    ra, dec, _ = to_sky(x0, y0, np.full(3, middle))
    ra_x, ra_y = (ra[1] - ra[0]) * 2, (ra[2] - ra[0]) / 2
    dec_x, dec_y = (dec[1] - dec[0]) * 2, (dec[2] - dec[0]) / 2
    y_slit, lam = sampling.y_slit[:, sampling.finite], sampling.lam[:, sampling.finite] * 1e6
    data = np.full(sampling.finite.shape, np.nan)
    total = np.zeros_like(lam)
    for blob in blobs:
        light = 0.0
        for x, w in zip(*gauss(N_ACROSS), strict=True):
            light = light + w * blob.image(
                ra[0] + x * ra_x + y_slit * ra_y, dec[0] + x * dec_x + y_slit * dec_y
            )
        total = total + light * blob.spectrum(lam)
    data[sampling.finite] = sampling.weight @ total
    return data


def pattern(n_steps=9, n_dithers=7, step=0.2, dither=0.075):
    """Offsets of a full survey, arcsec, about the middle."""
    across = step * (np.arange(n_steps) - (n_steps - 1) / 2)
    along = dither * (np.arange(n_dithers) - (n_dithers - 1) / 2)
    return [(a, b) for a in across for b in along]


def survey(template, offsets, blobs, *, sampling=None, error=0.01, time=1000.0, first=1):
    """Exposures of the scene, noise-free, as plain objects that look like slits."""
    sampling = sampling or sample(template.wcs, template.shape)
    slits = []
    for i, (across, along) in enumerate(offsets, first):
        wcs, pointing = template.at(across, along)
        data = observe(blobs, wcs, sampling)
        slits.append(slit(template, wcs, pointing, data, i, error=error, time=time))
    return slits


def slit(template, wcs, pointing, data, number, *, error=0.01, time=1000.0):
    bad = ~np.isfinite(data)
    variance = np.where(bad, np.nan, 0.5 * error**2).astype(np.float32)
    node = SimpleNamespace
    detector = template.meta.detector
    meta = node(
        bunit_data="MJy/sr",
        wcs=wcs,
        filename=f"jw02136001001_03101_{number:05d}_{detector.lower()}_cal.fits",
        wcsinfo=node(ra_ref=pointing[0], dec_ref=pointing[1]),
        instrument=template.meta,
        exposure=node(effective_exposure_time=time, exposure_time=time),
        observation=node(
            program_number="02136", observation_number="001", visit_number="001",
            visit_group="03", sequence_id="1", activity_id="01", exposure_number=str(number),
            visit_id="02136001001",
        ),
    )  # fmt: skip
    return node(
        data=data.astype(np.float32), dq=bad.astype(np.uint32),
        err=np.where(bad, np.nan, error).astype(np.float32),
        var_rnoise=variance, var_poisson=variance.copy(), var_flat=None,
        name="138", source_id=933, source_name="1345_933",
        source_ra=template.source[0], source_dec=template.source[1], meta=meta,
    )  # fmt: skip


def source_of(models):
    """The slits of models of one source, as our pipelines have them."""
    entries = [
        entry
        for model in models
        for entry in cutouts_of_model(model.meta.filename, model, Selection()).entries
    ]
    cutouts, headers = ([getattr(e, name) for e in entries] for name in ("cutout", "header"))
    return replace(entries[0].source, cutouts=cutouts, headers=headers)


def as_model(plain, model_class=SlitModel):
    """A SlitModel of a plain slit."""
    meta = plain.meta
    tree = {
        "meta": {
            "filename": meta.filename,
            "bunit_data": meta.bunit_data,
            "bunit_err": meta.bunit_data,
            "telescope": "JWST",
            "wcs": meta.wcs,
            "wcsinfo": vars(meta.wcsinfo).copy(),
            "instrument": {"name": "NIRSPEC", **vars(meta.instrument)},
            "exposure": {"type": "NRS_MSASPEC", **vars(meta.exposure)},
            "observation": {"date": "2023-04-01", "time": "00:00:00.000", **vars(meta.observation)},
        }
    }
    for key in ("data", "dq", "err", "var_rnoise", "var_poisson"):
        tree[key] = getattr(plain, key)
    for key in ("name", "source_id", "source_name", "source_ra", "source_dec"):
        tree[key] = getattr(plain, key)
    return model_class(tree)


def as_multislit(slits):
    """One exposure with several slits."""
    model = MultiSlitModel()
    models = [as_model(s) for s in slits]
    model.update(models[0])
    for m in models:
        model.slits.append(m)
    model.meta.filename = models[0].meta.filename
    return model
