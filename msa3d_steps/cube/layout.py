"""The cutouts of a source laid on the voxels: what is done once, before blocks of channels."""

from itertools import groupby

import numpy as np

from msa3d_steps.cube.clipping import STEEPNESS, clipped_mean
from msa3d_steps.cube.interpolate import SampledGroup, sample_noise
from msa3d_steps.cube.noise import drizzle_noise
from msa3d_steps.cube.stacked import MEDIAN_VARIANCE, make_stack, median_of_steps
from msa3d_steps.cube.strips import Group
from msa3d_steps.cube.visits import Visits

__all__ = ["Layout"]


class Layout:
    """The cutouts of a source on a grid, to be summed block by block.

    Parameters
    ----------
    cutouts : list of `~msa3d_steps.cube.sources.Cutout`
        The cutouts.
    pattern : `~msa3d_steps.cube.pattern.Pattern`
        Their pattern: the direction of their slits on the sky and, for the median, their steps.
    grid : `~msa3d_steps.cube.grid.CubeGrid`
        The voxels.
    options : `~msa3d_steps.cube.combine.CombineOptions`
        How to combine.

    Attributes
    ----------
    grid, options : object
        As given.
    strips : list of `~msa3d_steps.cube.strips.Strip`
        The cutouts on the grid, in the order of the cutouts.
    spaxels : numpy.ndarray
        Flat indices of the spaxels that any slit may touch, increasing.
    """

    def __init__(self, cutouts, pattern, grid, options):
        self.grid, self.options = grid, options
        _, exposure = np.unique([c.exposure for c in cutouts], return_inverse=True)
        order = np.argsort(exposure, kind="stable")
        self._exposure = exposure
        group_of = SampledGroup if options.method == "linear" else Group
        self.groups = [
            group_of(order[pattern.turned[order] == group], cutouts, grid, options)
            for group in np.unique(pattern.turned)
        ]
        if len(self.groups) > 1 and options.method != "linear":
            self.groups = [Visits(self.groups)]
        of_cutout = {i: s for g in self.groups for i, s in zip(g.members, g.strips, strict=True)}
        self.strips = [of_cutout[i] for i in range(len(cutouts))]
        members = [strip.spaxels for strip in self.strips]
        self.spaxels = np.unique(np.concatenate(members))
        if options.robust:
            self.stack = make_stack(members, pattern.step, exposure, self.spaxels, grid.nx)
            self.slots = self.stack.slots
        else:
            self.slots = [np.searchsorted(self.spaxels, m) for m in members]

    @property
    def bytes_per_channel(self):
        """Memory for one channel of a block."""
        rows = self.spaxels.size
        if self.options.robust:
            rows += self.stack.n_rows
        return 4 * (6 * rows + sum(g.floats_per_channel for g in self.groups))

    def sums(self, block):
        """Sum what falls into a block of channels.

        Parameters
        ----------
        block : slice
            The channels.

        Returns
        -------
        sums : numpy.ndarray
            Shape ``(6, n_spaxels, n_channels)``, float32: sums over the pixels of value x weight,
            weight, variance x weight^2, weight before levelling, exposure time x coverage, and the
            number of exposures.
        samples : numpy.ndarray or None
            Shape ``(2, n_cutouts)``: see `Voxels`.
        """
        if not self.options.robust:
            return self._dropped(block, self.spaxels.size), None
        margin = 2 * int(self.options.weighting == "clipped")  # it looks at channels beside
        first, last = max(block.start - margin, 0), min(block.stop + margin, self.grid.n_wave)
        rows = self._dropped(slice(first, last), self.stack.n_rows)
        sums = np.zeros((6, self.spaxels.size, last - first), np.float32)
        stack = self.stack
        if self.options.weighting == "median":
            median_of_steps(rows, stack.first, stack.step, stack.exposure, MEDIAN_VARIANCE, sums)
            return sums, None
        samples = np.zeros((2, len(self.strips), last - first), np.int64)
        clipped_mean(
            rows, stack.first, stack.step, stack.exposure, stack.cutout, stack.beside,
            stack.rows_beside,
            self.options.clip_snr, self._reach(), MEDIAN_VARIANCE, sums, samples,
        )  # fmt: skip
        inside = slice(block.start - first, block.stop - first)
        return sums[:, :, inside], samples[:, :, inside].sum(axis=2)

    def levels(self, block):
        """Give what levelling multiplies weights with, in a block of channels.

        Parameters
        ----------
        block : slice
            The channels.

        Returns
        -------
        list
            For each cutout an array of shape ``(ny, n_channels)``, or None.
        """
        levels = [None] * len(self.strips)
        for group in self.groups:
            group.levels(self._edges(block), levels)
        return levels

    def noise_matrix(self, block):
        """Give the square root of the covariance of voxels, but for what medians add to it.

        Parameters
        ----------
        block : slice
            The channels.

        Returns
        -------
        matrix, spaxels : object
            See `~msa3d_steps.cube.noise.drizzle_noise`.
        """
        noise = sample_noise if self.options.method == "linear" else drizzle_noise
        return noise(self, block)

    def _edges(self, block):
        return self.grid.edges[block.start : block.stop + 1]

    def _reach(self):
        """Give what samples may differ by, in differences of neighbouring voxels."""
        pixel, slit = np.median([s.size for s in self.strips], axis=0)
        return STEEPNESS * pixel, STEEPNESS * slit, STEEPNESS

    def _dropped(self, block, size):
        """Drop all cutouts into the rows that their slots name."""
        sums = np.zeros((6, size, block.stop - block.start), np.float32)
        drops = (drop for group in self.groups for drop in group.drops(self._edges(block)))
        for _, members in groupby(drops, key=lambda drop: self._exposure[drop[0]]):
            members = list(members)
            counted = sums[5] + 1 if len(members) > 1 else None
            for i, drop in members:
                drop(self.slots[i], np.float32(self.strips[i].time), sums)
            if counted is not None:  # an exposure counts once, whether or not two detectors saw it
                np.minimum(sums[5], counted, out=sums[5])
        return sums
