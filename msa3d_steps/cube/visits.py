"""Visits whose slits have other directions on the sky, levelled together.

Each group of slits of one direction is levelled by itself, so that each place in its field counts
alike. Where the fields of two groups do not have the same border, a voxel that straddles the border
of one of them would be pulled towards the side that both have seen: by 1.5% of the flux of a galaxy
where the second of two visits is three times as deep and covers half of the field. Here weights are
divided by the density of all groups together, on the cells of each group.
"""

import numpy as np

from msa3d_steps.cube.overlap import add_density, level_rows
from msa3d_steps.cube.strips import CELLS_ACROSS, Group

__all__ = ["Visits"]


class Visits(Group):
    """Several groups in one.

    Parameters
    ----------
    groups : list of `~msa3d_steps.cube.strips.Group`
        The groups.
    """

    def __init__(self, groups):
        self.groups = groups
        self.members = np.concatenate([g.members for g in groups])
        self.strips = [strip for g in groups for strip in g.strips]
        # besides their own: the density of each, and the one of all at its cells
        cells = [g.n_across * g.n_along for g in groups]
        self.floats_per_channel = sum(g.floats_per_channel for g in groups) + 2 * max(cells)
        self._firsts = np.cumsum([0, *(len(g.strips) for g in groups)])
        self._shared = [[_shared_cells(a, b) for b in groups if b is not a] for a in groups]

    def _levelled(self, edges):
        """Level each group by itself and then all of them together; see `Group`."""
        parts = [g._levelled(edges) for g in self.groups]  # noqa: SLF001 - it is a Group, too
        if sum(map(bool, parts)) > 1:
            self._level_together(parts, edges.size - 1)
        return [
            (first + i, rebinned)
            for first, part in zip(self._firsts, parts, strict=False)
            for i, rebinned in part
        ]

    def _level_together(self, parts, n_wave):
        """Divide the weights by the density of all."""
        densities = [_density(g, p, n_wave) for g, p in zip(self.groups, parts, strict=True)]
        for number, (group, part) in enumerate(zip(self.groups, parts, strict=True)):
            if not part:
                continue
            total = densities[number].copy()
            others = [d for i, d in enumerate(densities) if i != number]
            for (here, there), other in zip(self._shared[number], others, strict=True):
                total[here] += other[there]
            np.divide(1, total, out=total, where=total > 0)
            inverse = total.reshape(group.n_across, group.n_along, n_wave)
            for i, rebinned in part:
                level_rows(*rebinned, *group.places[i], inverse)


def _density(group, members, n_wave):
    """Density of weight on the cells of a group; shape ``(n_cells, n_wave)``."""
    density = np.zeros((group.n_across, group.n_along, n_wave), np.float32)
    for i, rebinned in members:
        add_density(*rebinned, *group.places[i], density)
    density /= group.covered[:, None, None]
    return density.reshape(-1, n_wave)


def _shared_cells(group, other):
    """Find the cells of one group that lie on cells of another, and these: flat indices."""
    u, v = (a.ravel() + 0.5 for a in np.indices((group.n_across, group.n_along)))
    offset, matrix = _cells_to_spaxels(group)
    spaxels = offset[:, None] + matrix @ np.stack([u, v])
    offset, matrix = _cells_to_spaxels(other)
    u, v = np.floor(np.linalg.inv(matrix) @ (spaxels - offset[:, None])).astype(int)
    inside = (u >= 0) & (u < other.n_across) & (v >= 0) & (v < other.n_along)
    return np.flatnonzero(inside), (u * other.n_along + v)[inside]


def _cells_to_spaxels(group):
    """Give the affine map from the cells of a group, across and along, to spaxels."""
    strip = group.strips[0]
    origin, scale, first_cell, parts = group.places[0]
    left = first_cell + max(1 - parts[0], 0) + 0.5 * strip.options.slit_frac * CELLS_ACROSS
    matrix = strip.matrix / [CELLS_ACROSS, scale]
    return strip.offset - matrix @ [left, origin], matrix
