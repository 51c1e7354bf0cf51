"""Test material: surveys made out of one real cutout, with the optics of its own WCS.

`prism_survey` moves the telescope under the real cutout; `grating_survey` puts a G140H grating in
the prism's place as well, and makes both detectors. A survey's models share the transforms
of their WCS up to the pointing: do not change a transform (or a bounding box) in place.
"""

import copy
from dataclasses import dataclass
from functools import reduce
from types import SimpleNamespace

import gwcs
import numpy as np
from astropy.modeling import bind_bounding_box
from astropy.modeling.models import (
    AffineTransformation2D,
    Const1D,
    Identity,
    Mapping,
    Scale,
    Shift,
    Tabular1D,
)
from jwst.assign_wcs import nirspec
from jwst.assign_wcs.pointing import v23tosky
from jwst.assign_wcs.util import velocity_correction
from stdatamodels.jwst.datamodels import SlitModel
from stdatamodels.jwst.transforms.models import Rotation3DToGWA

__all__ = ["grating_survey", "pointings", "prism_survey"]

DETECTOR_SIZE = 2048
SCA_NUMBER = {"NRS1": 491, "NRS2": 492}
READOUT_AXES = {"NRS1": (2, 1), "NRS2": (-2, -1)}  # fastaxis, slowaxis
DO_NOT_USE = 1


@dataclass(frozen=True)
class Setup:
    """What all exposures of one detector have in common.

    Attributes
    ----------
    tree : dict
        Metadata and scalars of the model, without arrays and WCS.
    steps : list of tuple
        Frames and transforms of the WCS; the last transform, the pointing, is the template's.
    v2, v3 : ndarray
        Centres of the pixels before the pointing, arcsec, shape ``(ny, nx)``.
    lam : ndarray
        Wavelength of the pixels, um, NaN outside the slit, shape ``(ny, nx)``.
    corners : tuple of ndarray
        v2 and v3 of the four corners of the open slit, arcsec.
    """

    tree: dict
    steps: list
    v2: np.ndarray
    v3: np.ndarray
    lam: np.ndarray
    corners: tuple


def prism_survey(
    cutout_path, n_steps=9, n_dithers=7, step=0.2, dither=0.075, jitter=0.0, seed=0, data=None
):
    """Make a slit-stepping survey of copies of a real cutout.

    Parameters
    ----------
    cutout_path : str or Path
        A real cutout, a `SlitModel` with its WCS.
    n_steps, n_dithers : int
        Size of the pattern across and along the slit.
    step, dither : float
        Offsets across and along the slit, arcsec on the sky.
    jitter : float
        Standard deviation of the pointing error on either axis, arcsec.
    seed : int
        Seed of the pointing errors.
    data : callable or None
        Surface brightness ``data(ra, dec, lam)`` in MJy/sr (deg, deg, um); by default 1.

    Returns
    -------
    list of SlitModel
        The ``n_steps * n_dithers`` cutouts, in the order in which they were taken.
    """
    tree, steps = _read(cutout_path)
    setup = _setup(tree, steps, (tree["ysize"], tree["xsize"]))
    offsets = pointings(n_steps, n_dithers, step, dither, jitter, seed)
    return [_model(setup, n, len(offsets), o, data) for n, o in enumerate(offsets, start=1)]


def grating_survey(
    cutout_path,
    n_exposures=63,
    shape=(40, 2048),
    n_steps=9,
    step=0.2,
    dither=0.075,
    jitter=0.0,
    seed=0,
    data=None,
    slit_y=4.5,
    wave_range=(0.97, 1.82),
    groove_density=2.55e5,
    tilt_y=-11.5,
    gap=2.8e-3,
):
    """Make a slit-stepping survey in the layout of G140H/F100LP on both detectors.

    Parameters
    ----------
    cutout_path : str or Path
        A real PRISM cutout on NRS2, a `SlitModel` with its WCS.
    n_exposures : int
        Number of exposures; a last incomplete row of the pattern is allowed.
    shape : tuple of int
        Rows and columns of a cutout.
    n_steps : int
        Steps across the slit in a row of the pattern.
    step, dither, jitter, seed, data
        As in `prism_survey`.
    slit_y : float
        Half the length of the slit, in units of y_slit (0.4575 arcsec, 0.2285 per pixel).
    wave_range : tuple of float or None
        Wavelengths with data, um; None for all that fall on the detectors.
    groove_density : float
        Grooves of the grating per metre.
    tilt_y : float
        Tilt of the grating, deg.
    gap : float
        Gap between the detectors, m.

    Returns
    -------
    list of SlitModel
        NRS1 and NRS2 of the first exposure, of the second, and so on.
    """
    tree, steps = _read(cutout_path)
    optics = _Grating(tree, steps, groove_density, tilt_y, gap, slit_y, wave_range)
    setups = [optics.setup(detector, shape) for detector in ("NRS1", "NRS2")]
    n_dithers = -(-n_exposures // n_steps)
    offsets = pointings(n_steps, n_dithers, step, dither, jitter, seed)[:n_exposures]
    return [
        _model(setup, number, n_exposures, offset, data)
        for number, offset in enumerate(offsets, start=1)
        for setup in setups
    ]


def pointings(n_steps, n_dithers, step, dither, jitter=0.0, seed=0):
    """Lay the pattern out as a snake: steps forth, one dither up, steps back.

    Parameters
    ----------
    n_steps, n_dithers : int
        Size of the pattern across and along the slit.
    step, dither : float
        Offsets across and along the slit, arcsec.
    jitter : float
        Standard deviation of the pointing error on either axis, arcsec.
    seed : int
        Seed of the pointing errors.

    Returns
    -------
    ndarray
        Offsets across and along the slit, arcsec, shape ``(n_steps * n_dithers, 2)``.
    """
    across = np.tile(step * (np.arange(n_steps) - (n_steps - 1) / 2), (n_dithers, 1))
    across[1::2] = across[1::2, ::-1]
    along = np.repeat(dither * (np.arange(n_dithers) - (n_dithers - 1) / 2), n_steps)
    exact = np.stack([across.ravel(), along], axis=1)
    return exact + jitter * np.random.default_rng(seed).standard_normal(exact.shape)


def _read(cutout_path):
    """Read a cutout's scalars (a tree without arrays) and the steps of its WCS."""
    with SlitModel(cutout_path) as model:
        wcs = copy.deepcopy(model.meta.wcs)
        skip = {"asdf_library", "history", "_fits_hash", "meta"}
        tree = {k: v for k, v in model.instance.items()
                if k not in skip and not isinstance(v, np.ndarray)}  # fmt: skip
        tree["meta"] = {k: v for k, v in model.instance["meta"].items() if k != "wcs"}
        tree = copy.deepcopy(tree)
        steps = [(s.frame, s.transform) for s in wcs.pipeline]
        for _, transform in steps[:-1]:
            _load_tables(transform)
    return _survey_names(tree), steps


def _load_tables(transform):
    """Turn lookup tables that are still in the file into arrays."""
    for part in transform:
        if isinstance(part, Tabular1D):
            part.points = tuple(np.array(p) for p in part.points)
            part.lookup_table = np.array(part.lookup_table)


def _survey_names(tree):
    """Give the observation its survey's names; the dither metadata is the pattern's to set."""
    tree["meta"]["observation"].update(
        program_number="01234", observation_number="001", visit_number="001", visit_group="03",
        visit_id="01234001001", obs_id="V01234001001P0000000003101", sequence_id="1",
        activity_id="01",
    )  # fmt: skip
    tree["meta"]["dither"] = {"primary_type": "NONE", "nod_type": "NONE"}
    tree["meta"].update(bunit_data="MJy/sr", bunit_err="MJy/sr")
    return tree


def _setup(tree, steps, shape, wave_range=None):
    """Evaluate everything before the pointing once, for all exposures of a detector."""
    wcs = gwcs.WCS([*steps[:-2], (steps[-2][0], None)])
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    v2, v3, lam = wcs(x, y)
    if wave_range is not None:
        lam = np.where((lam >= wave_range[0]) & (lam <= wave_range[1]), lam, np.nan)
    from_slit = wcs.get_transform("slit_frame", wcs.output_frame.name)
    x_slit = np.array([-0.5, -0.5, 0.5, 0.5])
    y_slit = np.array([tree[f"slit_{end}"] for end in ("ymin", "ymax", "ymax", "ymin")], float)
    corners = from_slit(x_slit, y_slit, np.full(4, 2e-6))[:2]
    return Setup(tree, steps, v2, v3, lam, corners)


def _model(setup, number, total, offset, data):
    """Make one cutout of the survey."""
    tree = copy.deepcopy(setup.tree)
    meta = tree["meta"]
    detector = meta["instrument"]["detector"].lower()
    meta["filename"] = f"jw01234001001_03101_{number:05d}_{detector}_cal.fits"
    meta["observation"]["exposure_number"] = str(number)
    meta["dither"].update(position_number=number, total_points=total)
    _move(setup, meta, offset)
    to_sky = _to_sky(meta["wcsinfo"])
    meta["wcsinfo"]["s_region"] = _s_region(to_sky(*setup.corners))
    tree.update(_arrays(setup, to_sky, data))
    *shared, (before_sky, _), world = setup.steps
    meta["wcs"] = gwcs.WCS([*shared, (before_sky, to_sky & Identity(1)), world])
    return SlitModel(tree)


def _to_sky(wcsinfo):
    """Make jwst's transform from v2, v3 (arcsec) to the sky (deg)."""
    return v23tosky(SimpleNamespace(meta=SimpleNamespace(wcsinfo=SimpleNamespace(**wcsinfo))))


def _move(setup, meta, offset):
    """Move the pointing by an offset across and along the slit, arcsec on the sky."""
    east, north = offset @ _slit_axes(setup, meta["wcsinfo"]) / 3600
    for where, ra, dec in (("wcsinfo", "ra_ref", "dec_ref"), ("pointing", "ra_v1", "dec_v1")):
        meta[where][ra] += float(east / np.cos(np.deg2rad(meta[where][dec])))
        meta[where][dec] += float(north)


def _slit_axes(setup, wcsinfo):
    """Find the unit vectors (east, north) across and along the slit, shape ``(2, 2)``."""
    ra, dec = _to_sky(wcsinfo)(*setup.corners)
    sky = np.stack([ra * np.cos(np.deg2rad(dec.mean())), dec], axis=1)
    axes = np.stack([sky[2] + sky[3] - sky[0] - sky[1], sky[1] + sky[2] - sky[0] - sky[3]])
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def _s_region(corners):
    """Word the corners of the slit (deg) as an STC-S polygon."""
    points = (f"{ra:.9f} {dec:.9f}" for ra, dec in zip(*corners, strict=True))
    return "POLYGON ICRS  " + " ".join(points)


def _arrays(setup, to_sky, data):
    """Make the arrays of a cutout: data where the WCS is finite, NaN and DO_NOT_USE elsewhere."""
    valid = np.isfinite(setup.lam)

    def image(value):
        return np.where(valid, value, np.nan).astype(np.float32)

    scene = 1.0 if data is None else data(*to_sky(setup.v2, setup.v3), setup.lam)
    return {
        "data": image(scene),
        "err": image(0.1),
        "var_rnoise": image(0.005),
        "var_poisson": image(0.005),
        "var_flat": image(0.0),
        "dq": np.where(valid, 0, DO_NOT_USE).astype(np.uint32),
        "wavelength": image(setup.lam),
    }


def _pipe(*models):
    """Chain transforms."""
    return reduce(lambda a, b: a | b, models)


class _Grating:
    """NIRSpec between a slit and the detectors, with a grating in the prism's place.

    Collimator, camera, the place of the shutter and the FPA of NRS2 are those of the cutout's
    WCS, the grating equation is used as in `jwst.assign_wcs.nirspec`.
    """

    def __init__(self, tree, steps, groove_density, tilt_y, gap, slit_y, wave_range):
        self.tree, self.steps, self.gap = tree, steps, gap
        self.slit_y, self.wave_range = slit_y, wave_range
        transforms = {frame.name: transform for frame, transform in steps}
        self._to_sca, self._to_gwa = transforms["sca"], list(transforms["gwa"].inverse)
        angles = [*self._to_gwa[17].angles.value[:3], tilt_y]
        self._rotation = Rotation3DToGWA(angles, axes_order="xyzy", name="rotation")
        self._gwa_to_slit = self._grating(groove_density)

    def _grating(self, groove_density):
        """Make gwa -> slit_frame as `nirspec.gwa_to_slit` does."""
        disperser = SimpleNamespace(groovedensity=groove_density)
        wcsinfo = SimpleNamespace(spectral_order=-1)
        model = SimpleNamespace(
            meta=SimpleNamespace(wcsinfo=wcsinfo, instrument=SimpleNamespace(grating="G140H"))
        )
        velocity = velocity_correction(self.tree["meta"]["wcsinfo"]["velosys"])
        lgreq = nirspec.wavelength_from_disperser(disperser, model) | velocity
        agreq = velocity.inverse & Identity(3) | nirspec.angle_from_disperser(disperser, model)
        p = self._to_gwa
        msa_to_gwa = _pipe(
            p[0] & p[1], p[2] & p[3], p[4], p[5] & p[6], p[7] & p[8], p[9], p[10] & p[11], p[12],
            p[13] & p[14], p[15], p[16], self._rotation,
        )  # fmt: skip
        limits = SimpleNamespace(ymin=-self.slit_y, ymax=self.slit_y)
        transform = _pipe(
            Mapping((0, 1, 0, 1), n_inputs=3),
            Const1D(0) * Identity(1) & Const1D(-1) * Identity(1) & Identity(2),
            Identity(1) & nirspec.gwa_to_ymsa(msa_to_gwa, slit=limits) & Identity(2),
            Mapping((0, 1, 0, 1, 2, 3)),
            Identity(2) & msa_to_gwa & Identity(2),
            Mapping((0, 1, 2, 3, 5), n_inputs=7),
            Identity(2) & lgreq,
            nirspec.mask_slit(-self.slit_y, self.slit_y),
        )
        transform.inverse = msa_to_gwa & Identity(1) | Mapping((3, 0, 1, 2)) | agreq
        return transform

    def _sca_to_gwa(self, detector):
        """Make sca -> gwa: FPA, camera and the rotation to the grating."""
        p, back = list(self._to_sca), list(self._to_sca.inverse)
        fpa = _pipe(p[0], p[1] & p[2])
        if detector == "NRS1":
            fpa = _mirrored(p[0], p[1], p[2], self.gap)
        camera = _pipe(p[3], p[4] & p[5], p[6], p[7] & p[8], p[9], p[10] & p[11])
        camera.inverse = _pipe(
            back[2] & back[3], back[4], back[5] & back[6], back[7], back[8] & back[9], back[10]
        )
        return fpa | camera | p[12] | self._rotation

    def _to_sca_frame(self, detector, xstart, ystart):
        """Make detector -> sca as `nirspec.dms_to_sca` does, for a cutout (1-based start)."""
        start = Shift(xstart - 1) & Shift(ystart - 1)
        if detector == "NRS1":
            return start | Identity(2)
        last = -(DETECTOR_SIZE - 1)
        return start | Shift(last) & Shift(last) | Scale(-1) & Scale(-1)

    def _place(self, detector, sca_to_gwa, n_rows):
        """Find the first row (1-based) of a cutout centred on the trace."""
        lam = np.linspace(*(self.wave_range or (0.9, 2.0)), 200) * 1e-6
        on_gwa = self._gwa_to_slit.inverse(np.zeros_like(lam), np.zeros_like(lam), lam)
        to_detector = self._to_sca_frame(detector, 1, 1).inverse
        x, y = to_detector(*sca_to_gwa.inverse(*on_gwa))
        rows = y[(x >= 0) & (x < DETECTOR_SIZE)]
        middle = (rows.min() + rows.max()) / 2
        return int(np.clip(round(middle - (n_rows - 1) / 2) + 1, 1, DETECTOR_SIZE + 1 - n_rows))

    def setup(self, detector, shape):
        """Make what all exposures of a detector have in common."""
        sca_to_gwa = self._sca_to_gwa(detector)
        ystart = self._place(detector, sca_to_gwa, shape[0])
        first = self._to_sca_frame(detector, 1, ystart)
        box = ((-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5))
        bind_bounding_box(first, box, order="F")
        new = {"detector": first, "sca": sca_to_gwa, "gwa": self._gwa_to_slit}
        steps = [(frame, new.get(frame.name, transform)) for frame, transform in self.steps]
        tree = self._names(copy.deepcopy(self.tree), detector, ystart, shape)
        return _setup(tree, steps, shape, self.wave_range)

    def _names(self, tree, detector, ystart, shape):
        """Write detector, grating and the cutout's place into the metadata."""
        meta, (fast, slow) = tree["meta"], READOUT_AXES[detector]
        tree.update(
            xstart=1, ystart=ystart, xsize=shape[1], ysize=shape[0], shutter_state="111x111",
            slit_ymin=-self.slit_y, slit_ymax=self.slit_y,
        )  # fmt: skip
        low, high = self.wave_range or (0.97, 1.89)
        meta["instrument"].update(detector=detector, grating="G140H", filter="F100LP")
        meta["exposure"]["sca_num"] = SCA_NUMBER[detector]
        meta["subarray"].update(fastaxis=fast, slowaxis=slow)
        meta["wcsinfo"].update(
            spectral_order=-1, waverange_start=low * 1e-6, waverange_end=high * 1e-6,
            spectral_region=[low, high],
        )  # fmt: skip
        return tree


def _mirrored(affine, shift_x, shift_y, gap):
    """Make NRS1's FPA transform: NRS2's, turned by 180 deg and moved across the gap (m)."""
    pixel = float(np.abs(affine.matrix.value[0, 0]))
    last = pixel * (DETECTOR_SIZE - 1)
    x = shift_x.offset.value - last - pixel * DETECTOR_SIZE - gap
    turned = AffineTransformation2D(matrix=-affine.matrix.value)
    return turned | Shift(float(x)) & Shift(float(shift_y.offset.value - last))
