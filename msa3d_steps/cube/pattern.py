"""The slit-stepping pattern, found from where the slits were on the sky.

Nothing is taken from file names, file order or the number of files. A *step* is a set of exposures
whose slits lie on the same line of the sky up to pointing jitter; a *dither* is a place along it.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from msa3d_steps.cube.footprint import axes_of_slit
from msa3d_steps.cube.tangent import to_plane

__all__ = ["Pattern", "find_pattern", "groups_of_angle", "sort_offsets"]

ROTATION_TOLERANCE = 0.3
"""Visits whose slits are turned by more than this, degrees, never share a step."""

STEP_SPREAD = 0.5
"""Largest spread of one step, in slit widths."""

FINEST_STEP = 0.2
"""Least size of regular steps, in slit widths."""

LATTICE_POWER = 0.5
"""Least Fourier amplitude of a lattice of steps; 0.5 is jitter of a fifth of the step."""

DITHER_SCATTER = 0.4
"""Largest scatter of one dither, in distances of dithers; two that are taken for one have 0.5."""

DITHER_SPREAD = 0.25
"""Dithers closer than this part of a detector pixel are one dither."""


@dataclass(frozen=True)
class Pattern:
    """Which step and dither each cutout belongs to.

    Parameters
    ----------
    step, dither : numpy.ndarray
        Shape ``(n,)``: 0-based step and dither of each cutout. Steps count across the slit, and
        dithers along it, in the order of the offsets.
    turned : numpy.ndarray
        Shape ``(n,)``: 0-based group of each cutout; the slits of a group have one direction on the
        sky.
    across, along : numpy.ndarray
        Shape ``(n,)``: offset of the slit across and of the telescope along the slit, arcsec, from
        their median.
    step_size, dither_size : float
        Median distance of neighbouring steps and dithers, arcsec; 0 where there is only one.
    angle : numpy.ndarray or None
        Shape ``(n,)``: position angle of each slit (increasing ``y_slit``), degrees east of north.
    """

    step: np.ndarray
    dither: np.ndarray
    turned: np.ndarray
    across: np.ndarray
    along: np.ndarray
    step_size: float
    dither_size: float
    angle: np.ndarray | None = None

    @property
    def n_angles(self):
        """Number of directions of slits on the sky."""
        return int(self.turned.max()) + 1

    @property
    def n_steps(self):
        """Number of steps."""
        return int(self.step.max()) + 1

    @property
    def n_dithers(self):
        """Number of dithers."""
        return int(self.dither.max()) + 1


def find_pattern(cutouts):
    """Find the pattern of a set of cutouts of one source.

    The offset across is that of the slit's centre line on the sky, which is what decides how
    exposures combine. The offset along is that of the telescope where the pointing is known, since
    with nods between shutters the slit itself stays where it is; otherwise that of the slit.

    Parameters
    ----------
    cutouts : list of `~msa3d_steps.cube.sources.Cutout`
        The cutouts; those of both detectors of an exposure share its step and dither.

    Returns
    -------
    Pattern
        Step, dither and offsets, in the order of the cutouts.
    """
    ra0, dec0 = cutouts[0].footprint.center
    affine = [c.footprint.to_plane(ra0, dec0) for c in cutouts]
    angle = np.array([_position_angle(matrix) for _, matrix in affine])
    _, exposure = np.unique([c.exposure for c in cutouts], return_inverse=True)
    turned = groups_of_angle(angle, exposure)
    across, along = np.zeros(len(cutouts)), np.zeros(len(cutouts))
    width, height = [], []
    for group in range(turned.max() + 1):
        members = np.flatnonzero(turned == group)
        x, y, w, h = _offsets([cutouts[i] for i in members], [affine[i] for i in members])
        across[members], along[members] = x, y
        width.append(w)
        height.append(h)
    visit = np.array([c.visit for c in cutouts])
    found = sort_offsets(across, along, turned, exposure, visit, width, height)
    return replace(found, angle=angle)


def sort_offsets(across, along, turned, exposure, visit, width, height):
    """Sort offsets into steps and dithers.

    Parameters
    ----------
    across, along : numpy.ndarray
        Shape ``(n,)``: offsets across and along the slits, arcsec, each group from a zero of its
        own.
    turned : numpy.ndarray
        Shape ``(n,)``: group of equal slit directions, of `groups_of_angle`.
    exposure : numpy.ndarray
        Shape ``(n,)``: number of the exposure; entries of one exposure share its step and dither.
    visit : numpy.ndarray
        Shape ``(n,)``: name of the visit.
    width, height : sequence of float
        Width of the slit and height of a detector pixel, arcsec, of each group.

    Returns
    -------
    Pattern
        Step, dither and offsets, in the order given.
    """
    step, dither = np.zeros(across.size, int), np.zeros(across.size, int)
    step_sizes, dither_sizes = [], []
    first_step = 0
    for group in range(turned.max() + 1):
        members = np.flatnonzero(turned == group)
        x, y = across[members], along[members]
        # one value for each exposure: its detectors saw the same pointing
        unique, index = np.unique(exposure[members], return_inverse=True)
        x_exposure = np.array([x[index == i].mean() for i in range(len(unique))])
        y_exposure = np.array([y[index == i].mean() for i in range(len(unique))])
        visits = np.array([visit[members[np.argmax(index == i)]] for i in range(len(unique))])
        steps = cluster_steps(x_exposure, width[group])
        dithers = cluster_dithers(y_exposure, steps, visits, DITHER_SPREAD * height[group])
        step[members], dither[members] = first_step + steps[index], dithers[index]
        first_step += steps.max() + 1
        step_sizes.append(_median_distance(x_exposure, steps))
        dither_sizes.append(_median_distance(y_exposure, dithers))
    return Pattern(step, dither, turned, across, along, max(step_sizes), max(dither_sizes))


def groups_of_angle(angle, exposure):
    """Group slits that have the same direction on the sky; an exposure stays together.

    Parameters
    ----------
    angle : numpy.ndarray
        Shape ``(n,)``: position angles, degrees.
    exposure : numpy.ndarray
        Shape ``(n,)``: 0-based number of the exposure.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``: 0-based group.
    """
    angle = np.array([angle[np.argmax(exposure == i)] for i in range(exposure.max() + 1)])
    turn = (angle - angle[0] + 180) % 360
    order = np.argsort(turn)
    labels = np.empty(turn.size, int)
    labels[order] = np.concatenate([[0], np.cumsum(np.diff(turn[order]) > ROTATION_TOLERANCE)])
    return labels[exposure]


def cluster_steps(across, width):
    """Sort exposures into steps by their offsets across the slit.

    Steps nearly always have one size, so a lattice is looked for first; it stands up to jitter of a
    fifth of that size (rms). Offsets without one are cut at their gaps.

    Parameters
    ----------
    across : numpy.ndarray
        Shape ``(n,)``: offsets across the slit, arcsec.
    width : float
        Width of the slit, arcsec.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``: 0-based step of each exposure, by increasing offset.
    """
    if np.ptp(across) < STEP_SPREAD * width:
        return np.zeros(across.size, int)
    labels = _lattice(across, FINEST_STEP * width)
    if labels is None:
        labels = _cut_at_gaps(across, STEP_SPREAD * width)
    return np.unique(labels, return_inverse=True)[1]


def _lattice(values, least):
    """Label values by the place of the lattice that they scatter about; None without one.

    The lattice constant is where the values' Fourier transform is largest; where it is so at
    several (without jitter it is 1 at every fraction of the constant too), it is the largest.
    """
    periods = 1 / np.arange(1 / np.ptp(values), 1 / least, 0.02 / np.ptp(values))
    power = np.exp(2j * np.pi * values[:, None] / periods).mean(axis=0)
    strong = np.abs(power) > max(LATTICE_POWER, 0.97 * np.abs(power).max())
    if not strong.any():
        return None
    start = np.argmax(strong)
    stop = start + np.argmin(np.append(strong[start:], False))
    best = start + np.argmax(np.abs(power[start:stop]))
    period, phase = periods[best], np.angle(power[best]) / (2 * np.pi)
    return np.rint(values / period - phase).astype(int)


def _cut_at_gaps(values, widest):
    """Cut values at their largest gaps until no part is wider than allowed."""
    order = np.argsort(values, kind="stable")
    by_size = np.argsort(np.diff(values[order]))[::-1]
    for n_cuts in range(values.size):
        cut = np.zeros(values.size, int)
        cut[by_size[:n_cuts] + 1] = 1
        labels = np.cumsum(cut)
        if all(np.ptp(values[order][labels == i]) <= widest for i in range(n_cuts + 1)):
            break
    result = np.empty(values.size, int)
    result[order] = labels
    return result


def cluster_dithers(along, steps, visits, tolerance):
    """Sort exposures into dithers by their offsets along the slit.

    The number of dithers is the largest number of exposures that one step has within one visit;
    their places are the best partition of all offsets into so many. Within a step and visit each
    exposure then gets a dither of its own, so that jitter cannot give two the same one.

    Parameters
    ----------
    along : numpy.ndarray
        Shape ``(n,)``: offsets along the slit, arcsec.
    steps : numpy.ndarray
        Shape ``(n,)``: step of each exposure.
    visits : numpy.ndarray
        Shape ``(n,)``: visit of each exposure.
    tolerance : float
        Places closer than this, arcsec, are one dither.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``: 0-based dither of each exposure, by increasing offset.
    """
    sets = {}
    for i, key in enumerate(zip(steps.tolist(), visits.tolist(), strict=True)):
        sets.setdefault(key, []).append(i)
    number = max(len(members) for members in sets.values())
    ordered = np.sort(along)
    for n in range(number, along.size + 1):  # more, where every step lacks a dither
        places, scatter = _partition(ordered, n)
        if (
            scatter < DITHER_SCATTER * np.min(np.diff(places), initial=np.inf)
            or scatter < tolerance
        ):
            break
    places = _merge_close(places, tolerance)
    dithers = np.argmin(np.abs(along[:, None] - places), axis=1)
    for members in sets.values():
        if len(members) <= len(places):
            cost = (along[members][:, None] - places) ** 2
            rows, columns = linear_sum_assignment(cost)
            dithers[np.array(members)[rows]] = columns
    return np.unique(dithers, return_inverse=True)[1]


def _partition(values, number):
    """Means and largest scatter of the best partition of sorted values (least squares, exact).

    Fisher 1958, JASA 53, 789: dynamic programming over the last cut.
    """
    n = values.size
    total = np.concatenate([[0.0], np.cumsum(values)])
    square = np.concatenate([[0.0], np.cumsum(values**2)])
    start, end = np.arange(n)[:, None], np.arange(1, n + 1)[None, :]
    count = np.maximum(end - start, 1)
    scatter = square[end] - square[start] - (total[end] - total[start]) ** 2 / count
    scatter = np.where(end > start, scatter, np.inf)  # of the group values[start:end]

    best = np.concatenate([[np.inf], scatter[0]])  # no part may be empty
    cuts = []
    for _ in range(min(number, n) - 1):
        trial = best[:-1, None] + scatter
        cuts.append(np.argmin(trial, axis=0))
        best = np.concatenate([[np.inf], trial.min(axis=0)])
    edges = [n]
    for cut in reversed(cuts):
        edges.append(int(cut[edges[-1] - 1]))
    edges = [*edges, 0][::-1]
    parts = [values[a:b] for a, b in pairwise(edges)]
    return np.array([p.mean() for p in parts]), max(p.std() for p in parts)


def _merge_close(places, tolerance):
    """Join sorted places that are closer than a tolerance."""
    labels = np.concatenate([[0], np.cumsum(np.diff(places) > tolerance)])
    return np.array([places[labels == i].mean() for i in range(labels[-1] + 1)])


def _offsets(cutouts, affine):
    """Offsets across (of the slit) and along (of the telescope), slit width and pixel height."""
    offset = np.array([o for o, _ in affine])
    matrix = np.mean([m for _, m in affine], axis=0)
    normal, along = axes_of_slit(matrix)
    width = abs(normal @ matrix[:, 0])
    x = offset @ normal
    if all(c.pointing is not None for c in cutouts):
        pointing = np.array([c.pointing for c in cutouts])
        y = np.stack(to_plane(pointing[:, 0], pointing[:, 1], *pointing[0]), axis=1) @ along
    else:
        middle = np.array([0.5 * sum(c.footprint.limits) for c in cutouts])
        y = (offset + middle[:, None] * matrix[:, 1]) @ along
    return x - np.median(x), y - np.median(y), width, cutouts[0].footprint.pixel_height


def _position_angle(matrix):
    """Position angle of increasing ``y_slit``, degrees east of north."""
    return np.rad2deg(np.arctan2(matrix[0, 1], matrix[1, 1]))


def _median_distance(offsets, labels):
    """Median distance between the mean offsets of neighbouring labels."""
    means = [offsets[labels == i].mean() for i in np.unique(labels)]
    return float(np.median(np.diff(np.sort(means)))) if len(means) > 1 else 0.0
