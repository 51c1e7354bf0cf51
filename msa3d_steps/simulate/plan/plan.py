"""Plan a slit-stepping pattern: coverage, effective exposure times, gaps; without making data."""

from dataclasses import dataclass

import numpy as np

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.detector.exposing import NoiseModel
from msa3d_steps.simulate.optics.dispersers import CONFIGURATIONS
from msa3d_steps.simulate.plan.coverage import Maps, arrange, core_of, gap_widths
from msa3d_steps.simulate.plan.picture import draw_plan
from msa3d_steps.simulate.plan.slitlets import ShutterSize, Slitlets
from msa3d_steps.simulate.plan.table import tabulate
from msa3d_steps.simulate.references.calibration import pathloss_aperture, uniform_pathloss
from msa3d_steps.simulate.references.throughput import ARCSEC2, PIXEL_AREA, conversion, find_grating
from msa3d_steps.simulate.scene.render import FWHM, LSF_PIXELS
from msa3d_steps.simulate.scene.sources import SPEED_OF_LIGHT, Scene

__all__ = ["Depth", "Gaps", "Plan", "Range", "draw_plan", "line_depth", "make_plan", "tabulate"]

SPAXEL = 0.1
"""Spaxel of a cube by default, arcsec: the height of a pixel on the sky, rounded."""

FINE_CELL = 0.01
"""Cell of the fine maps, arcsec, as long as there are not more than `FINE_CELLS` on a side."""

FINE_CELLS = 600

MAX_SPAXELS = 1_000_000
"""A pattern that is larger than this is taken for a mistake."""

UNEVEN = 0.05
"""Difference from the median from which on an effective time is another one."""

EDGE = 1e-3
"""Share of the weight at either end that a range leaves out."""

SLIVER = 1e-4
"""Gaps narrower than this, arcsec, are not worth a word."""


@dataclass(frozen=True)
class Range:
    """Smallest, median and largest of a quantity."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values, weights=None):
        """Take the range of values by their weights.

        A thousandth of the weight at either end is left out, lest rounding makes the range.
        """
        values = np.ravel(values)
        weights = np.ones(values.size) if weights is None else np.ravel(weights)
        order = np.argsort(values, kind="stable")
        order = order[weights[order] > 0]
        total = np.cumsum(weights[order])
        places = np.searchsorted(total, np.array([EDGE, 0.5, 1 - EDGE]) * total[-1])
        return cls(*(float(values[order[place]]) for place in places))

    @property
    def ratio(self):
        """Largest over smallest; infinite where the smallest is zero."""
        return self.most / self.least if self.least > 0 else np.inf


@dataclass(frozen=True)
class Gaps:
    """What no exposure sees of the smallest rectangle that holds all slitlets.

    Attributes
    ----------
    between_slits, between_dithers, bars, rim : float
        Shares of that rectangle: slivers between slits; places between dithers that are longer
        than the slitlet; bars between shutters; ragged ends that pointing errors leave outside.
    sliver : float
        Median width of the slivers between slits, arcsec; 0 without any.
    widest_sliver : float
        Their largest width, arcsec.
    bar : float
        Median height of what the bars hide, arcsec; 0 where dithers uncover all.
    """

    between_slits: float
    between_dithers: float
    bars: float
    rim: float
    sliver: float
    widest_sliver: float
    bar: float

    @property
    def total(self):
        """Share of the rectangle that no exposure sees."""
        return self.between_slits + self.between_dithers + self.bars + self.rim


@dataclass(frozen=True)
class Depth:
    """Faintest surface brightness of an emission line, as modelled.

    Attributes
    ----------
    lam : float
        Wavelength, um.
    brightness : float
        Surface brightness of an unresolved line at 5 sigma, 1e-20 W/m2/arcsec2, which is 1e-17
        erg/s/cm2/arcsec2.
    """

    lam: float
    brightness: float


@dataclass(frozen=True)
class Plan:
    """What a pattern sees; positions across and along the slits, arcsec, from the pattern's middle.

    Attributes
    ----------
    survey : Survey
        The survey that is planned.
    slitlets : Slitlets
        A slitlet in each exposure, where pointing errors put it.
    fine, spaxels : Maps
        Maps on a fine grid, and on the default spaxels of a cube along the slits.
    field, core : tuple of float
        Limits across and limits along of the rectangle that holds all slitlets, and of the part of
        it where more steps or dithers at the ends of the pattern would change nothing.
    time : Range
        Effective exposure time of the points of the core that are seen, s.
    shadowed_time : Range
        The same, weighted by the bars' shadows, of points in the middle of the fine cells, s.
    shadow : Range
        Share of the light that the bars' shadows take at those points, all exposures together.
    uneven : Range
        Effective time of the points of the core that would be seen if there were no bars, s.
    uneven_share : float
        Share of them whose time differs by more than 5% from the median.
    spaxel_time, spaxel_exposures, spaxel_dithers : Range
        Effective exposure time (s), exposures and distinct dithers of the core's spaxels.
    gaps : Gaps
        What no exposure sees.
    depth : Depth
        Line sensitivity of a spaxel of median time.
    """

    survey: Survey
    slitlets: Slitlets
    fine: Maps
    spaxels: Maps
    field: tuple
    core: tuple
    time: Range
    shadowed_time: Range
    shadow: Range
    uneven: Range
    uneven_share: float
    spaxel_time: Range
    spaxel_exposures: Range
    spaxel_dithers: Range
    gaps: Gaps
    depth: Depth

    @property
    def total_time(self):
        """Exposure time of all exposures, s; without overheads."""
        return self.survey.n_exposures * self.survey.exposure_time


def make_plan(survey):
    """Work out what a survey's pattern sees.

    The shutters are those of NIRSpec's optics near the middle of a quadrant. Pointing errors are
    those of the simulated exposures, and so are the shadows of the bars: modelled, and of a
    uniform source, so that a bar takes a fifth of the light at its middle and not all, because
    image and pixels blur it (see `calibration.bar_shadow`).

    Parameters
    ----------
    survey : Survey
        The survey.

    Returns
    -------
    Plan
        Its coverage, times, gaps and depth.

    Raises
    ------
    InputError
        If the pattern is far too large for a cube.
    """
    commanded, actual = survey.offsets()
    _, dither = np.unique(np.round(commanded[:, 1], 9), return_inverse=True)
    slitlets = Slitlets(
        ShutterSize.from_optics(), survey.shutters, *actual.T, dither, survey.exposure_time
    )
    field = slitlets.field()
    lam = float(np.mean(CONFIGURATIONS[survey.grating, survey.filter].wave_range))
    spaxels = Maps.of(slitlets, *_spaxel_grid(field), lam)
    fine = Maps.of(slitlets, *_fine_grid(field), lam)
    jitter = np.abs(actual - commanded).max(axis=0)
    core = (
        *core_of(commanded[:, 0], jitter[0], slitlets.shutter.width),
        *core_of(commanded[:, 1], jitter[1], slitlets.height),
    )
    cells = arrange(slitlets)
    areas = cells.areas(core)
    without_bars = cells.without_bars * survey.exposure_time
    uneven = Range.of(without_bars, areas * (without_bars > 0))
    different = (without_bars > 0) & (np.abs(without_bars / uneven.median - 1) > UNEVEN)
    points = _middles_inside(fine, core)
    shadowed, unshadowed = slitlets.time_at(*points, lam), slitlets.time_at(*points)
    lit = unshadowed > 0
    in_core = _inside(spaxels, core)
    seen = in_core & (spaxels.time > 0)
    seen = seen if seen.any() else spaxels.time > 0
    middle = Range.of(spaxels.time[seen]).median
    left = float(np.median(spaxels.shadowed_time[seen] / spaxels.time[seen]))
    return Plan(
        survey, slitlets, fine, spaxels, field, core,
        time=Range.of(cells.counts * survey.exposure_time, areas * (cells.counts > 0)),
        shadowed_time=Range.of(shadowed[lit]),
        shadow=Range.of(1 - shadowed[lit] / unshadowed[lit]),
        uneven=uneven,
        uneven_share=float(areas[different].sum() / areas[cells.without_bars > 0].sum()),
        spaxel_time=Range.of(spaxels.time[in_core]),
        spaxel_exposures=Range.of(spaxels.exposures[in_core]),
        spaxel_dithers=Range.of(spaxels.dithers[in_core]),
        gaps=_find_gaps(cells, field, core),
        depth=line_depth(survey, lam, middle, left, slitlets.state),
    )  # fmt: skip


def _spaxel_grid(field):
    """Limits of the spaxels of a cube whose y axis is along the slits: an odd number of them."""
    edges = []
    for low, high in (field[:2], field[2:]):
        number = 2 * np.ceil((high - low) / 2 / SPAXEL - 0.5 - 1e-6).clip(min=0) + 1
        if number > MAX_SPAXELS:
            break
        middle = 0.5 * (low + high)
        edges.append(middle + SPAXEL * (np.arange(number + 1) - number / 2))
    if len(edges) < 2 or edges[0].size * edges[1].size > MAX_SPAXELS:
        size = f"{field[1] - field[0]:.4g} x {field[3] - field[2]:.4g}"
        raise InputError(
            f"Survey: the pattern covers {size} arcsec, far more than a source; give smaller steps "
            "or dithers (arcsec), or fewer"
        )
    return edges


def _fine_grid(field):
    """Limits of fine cells, a whole number of which covers the field."""
    return [
        np.linspace(low, high, int(np.clip(np.ceil((high - low) / FINE_CELL), 1, FINE_CELLS)) + 1)
        for low, high in (field[:2], field[2:])
    ]


def _inside(maps, limits):
    """Cells of maps inside a rectangle; where it holds none as a whole, those with their middle."""
    for whole in (True, False):
        mask = maps.inside(limits, whole)
        if mask.any():
            return mask
    return maps.time > 0


def _middles_inside(maps, limits):
    """Middles of cells inside a rectangle, across and along."""
    middles = (0.5 * (edges[1:] + edges[:-1]) for edges in (maps.x, maps.y))
    inside = _inside(maps, limits)
    return [m[inside.any(axis=axis)] for axis, m in enumerate(middles)]


def _find_gaps(cells, field, core):
    """Find what no exposure sees, and why."""
    areas = cells.areas()
    total = (field[1] - field[0]) * (field[3] - field[2])
    open_sky = cells.without_bars > 0
    in_rows = _between(open_sky, 1)
    in_columns = _between(in_rows, 0)
    hidden = open_sky & (cells.counts == 0)
    rows = _touches(cells.y, core[2:]) & open_sky.any(axis=1)
    columns = _touches(cells.x, core[:2]) & open_sky.any(axis=0)
    slivers = gap_widths(~open_sky[rows], cells.x)
    slivers = slivers[slivers > SLIVER]
    bars = gap_widths(hidden.T[columns], cells.y)
    return Gaps(
        between_slits=float(areas[in_rows & ~open_sky].sum() / total),
        between_dithers=float(areas[in_columns & ~in_rows].sum() / total),
        bars=float(areas[hidden].sum() / total),
        rim=float(areas[~in_columns].sum() / total),
        sliver=float(np.median(slivers)) if slivers.size else 0.0,
        widest_sliver=float(slivers.max(initial=0.0)),
        bar=float(np.median(bars)) if bars.size else 0.0,
    )


def _touches(edges, limits):
    """Tell which cells have their middle between two limits."""
    middles = 0.5 * (edges[1:] + edges[:-1])
    return (middles > limits[0]) & (middles < limits[1])


def _between(mask, axis):
    """Tell which cells are set or lie between set cells along an axis."""
    before = np.logical_or.accumulate(mask, axis)
    return before & np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis), axis)


def line_depth(survey, lam, time, shadow, shutter_state, n_sigma=5.0):
    """Estimate the faintest line of a spaxel from the models of throughput and detector.

    Photons of the zodiacal light, dark current and read noise, with the gain of NRS1, give the
    noise of a pixel in an exposure. A spaxel has as many independent pixels as its exposures times
    its area over that of a pixel's sky (slit width times height), so that sums over spaxels come
    out right; a single spaxel of a cube looks less noisy, because it shares pixels with its
    neighbours. The line is as wide as the line spread function and fitted with its shape, which
    takes ``2 sqrt(pi) sigma`` pixels. The source's own photons and the continuum are left out.

    Parameters
    ----------
    survey : Survey
        Grating, exposure time and background.
    lam : float
        Wavelength of the line, um.
    time : float
        Effective exposure time of the spaxel, s.
    shadow : float
        Mean light that the bars' shadows leave.
    shutter_state : str
        The slitlet in the characters of jwst.
    n_sigma : float
        Significance.

    Returns
    -------
    Depth
        Surface brightness of the line.
    """
    noise = NoiseModel()
    gain, dark, t = noise.gain[0], noise.dark_current[0], survey.exposure_time
    response = float(conversion(lam, survey.grating, survey.filter)) * shadow
    response *= float(uniform_pathloss(lam, pathloss_aperture(shutter_state)))
    sky = response * float(Scene((), survey.zodiacal).background(lam))
    electrons = (sky * gain + dark) * t
    per_pixel = np.sqrt(electrons + noise.read_noise**2) / (gain * t) / response  # MJy/sr
    pixels = time / t * SPAXEL**2 / (PIXEL_AREA / ARCSEC2)
    width = np.hypot(LSF_PIXELS / FWHM, np.sqrt(1 / 12))  # the pixel averages, too
    bandpass = float(find_grating(survey.grating, survey.filter).pixel_bandwidth(lam)) * 1e-6
    hertz = SPEED_OF_LIGHT * 1e3 * bandpass / (lam * 1e-6) ** 2
    line = per_pixel / np.sqrt(pixels) * np.sqrt(2 * np.sqrt(np.pi) * width) * hertz * ARCSEC2
    return Depth(lam, float(n_sigma * line))  # 1 MJy Hz is 1e-20 W/m2
