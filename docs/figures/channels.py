"""Where the detectors end: tilted lines of equal wavelength, channels that are left out."""

from dataclasses import dataclass

import numpy as np
from common import BLUE, GREY, ORANGE, lay, new_figure, save

from msa3d_steps.cube.combine import combine
from msa3d_steps.cube.ends import leave_out_ends
from msa3d_steps.cube.grid import GridOptions

__all__ = ["AtTheGap", "draw", "measure"]


MIDDLE = 1.5
"""Of the gap between the detectors, um: to the blue of it is NRS1."""


@dataclass(frozen=True)
class AtTheGap:
    """The channels of a cube about the gap between the detectors.

    Attributes
    ----------
    edges : numpy.ndarray
        Limits of the channels, um.
    kept, before : numpy.ndarray
        Shape ``(n_wave,)``: whether a channel is in the cube, and whether any pixel reaches it.
    along : list of numpy.ndarray
        For each detector the middles of the lit rows, arcsec along the slit.
    ends : list of numpy.ndarray
        For each detector the wavelength, um, at which these rows end (NRS1) or begin (NRS2).
    """

    edges: np.ndarray
    kept: np.ndarray
    before: np.ndarray
    along: list
    ends: list


def measure(source):
    """Look at the ends of the first exposure on both detectors, and at the cube there.

    Parameters
    ----------
    source : `~msa3d_steps.cube.sources.Source`
        The cutouts.

    Returns
    -------
    AtTheGap
        Channels and rows.
    """
    cutouts = source.cutouts
    pair = [next(c for c in cutouts if c.detector == name) for name in ("NRS1", "NRS2")]
    along, ends = zip(*(_ends(c.footprint) for c in pair), strict=True)
    low, high = ends[0].min() - 0.003, ends[1].max() + 0.003
    layout = lay(cutouts, GridOptions(scalexy=0.1, wavemin=low, wavemax=high))
    voxels = combine(layout)
    before = np.isfinite(voxels.data).any(axis=(1, 2))
    leave_out_ends(voxels, cutouts, [s.spaxels for s in layout.strips], layout.grid)
    kept = np.isfinite(voxels.data).any(axis=(1, 2))
    return AtTheGap(layout.grid.edges, kept, before, list(along), list(ends))


def _ends(footprint):
    """Give the place along the slit of the lit rows, and where they end towards the gap."""
    first, last = footprint.columns
    rows = np.arange(float(footprint.shape[0]))
    columns = np.array([first - 0.5, last + 0.5])
    wavelength, along = footprint.wavelength(columns, rows), footprint.along(columns, rows)
    low, high = footprint.limits
    towards = 1 if wavelength.mean() < MIDDLE else 0
    lit = (along[:, towards] > low) & (along[:, towards] < high)
    _, matrix = footprint.to_plane(*footprint.center)
    return along[lit, towards] * np.hypot(*matrix[:, 1]), wavelength[lit, towards]


def draw(measured, path):
    """Draw the rows at both ends; channels that are left out are grey."""
    figure = new_figure(9, 3.2)
    width = 1e3 * np.diff(measured.edges).mean()
    sides = ((BLUE, -1), (ORANGE, 1))
    panels = figure.subplots(1, 2, sharey=True)
    for i, (colour, side) in enumerate(sides):
        axes, ends, along = panels[i], 1e3 * measured.ends[i], measured.along[i]
        limits = np.sort(ends.mean() + side * width * np.array([9, -6]))
        axes.fill_betweenx(along, ends, ends + 5 * side, color=colour, alpha=0.4, linewidth=0)
        axes.plot(ends, along, color=colour, linewidth=2)
        for edge in 1e3 * measured.edges:
            axes.axvline(edge, color=GREY, linewidth=0.4)
        for k in np.flatnonzero(measured.before & ~measured.kept):
            axes.axvspan(*1e3 * measured.edges[k : k + 2], color="k", alpha=0.15, linewidth=0)
        end = "red end of NRS1" if side < 0 else "blue end of NRS2"
        axes.set(xlim=limits, title=end, xlabel="wavelength, nm (lines: channels)")
        axes.ticklabel_format(useOffset=False)
    panels[0].set(ylabel="along the slit, arcsec")
    save(figure, path)
