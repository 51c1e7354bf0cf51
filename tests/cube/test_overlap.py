"""The compiled overlaps against areas that are known or counted."""

import numpy as np
import pytest

from msa3d_steps.cube.overlap import MAX_SIDES, clip_spaxels, drop_rows, rebin_rows
from msa3d_steps.cube.strips import _covered


def rotation(angle, scale=1.0):
    s, c = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    return scale * np.array([[c, s], [-s, c]])


def shares(angle, low, high, size=11, half_width=0.9, y_range=3.0):
    """Part of each spaxel that lies in the slit between two places along it."""
    y, x = (a.ravel().astype(float) for a in np.mgrid[:size, :size])
    matrix = rotation(angle, 0.8)
    origin = -matrix @ np.array([5.2, 4.9])
    sides = np.zeros((x.size, MAX_SIDES, 4), np.float32)
    n_sides = np.zeros(x.size, np.int64)
    clip_spaxels(x, y, origin, matrix, half_width, sides, n_sides)
    rows = np.ones((5, 1, 1), np.float32)
    bounds = np.array([[[low]], [[high]]], np.float32)
    sums = np.zeros((6, x.size, 1), np.float32)
    drop_rows(
        rows, bounds, np.array([[0, 1]]), sides, n_sides, np.arange(x.size), np.float32(2), sums
    )
    return sums[:, :, 0], x, y, matrix, origin


@pytest.mark.parametrize("angle", [0, 90, 180, 1e-7, 13, 45, 137.3, 270.0001])
def test_overlap_with_a_slit(angle):
    sums, x, y, matrix, origin = shares(angle, -0.7, 0.45)
    spaxel = abs(np.linalg.det(matrix))
    # the whole pixel is shared out: 1.8 x 1.15 in slit coordinates
    assert sums[1].sum() * spaxel == pytest.approx(1.8 * 1.15, rel=1e-5)
    # each share, counted on a fine grid
    fine = (np.arange(200) + 0.5) / 200 - 0.5
    dx, dy = (a.ravel() for a in np.meshgrid(fine, fine))
    for i in np.flatnonzero(sums[1] > 0)[::3]:
        place = origin[:, None] + matrix @ np.stack([x[i] + dx, y[i] + dy])
        inside = (abs(place[0]) < 0.9) & (place[1] > -0.7) & (place[1] < 0.45)
        assert sums[1, i] == pytest.approx(inside.mean(), abs=0.006)


def test_parts_of_a_row_add_up():
    """Cutting a pixel in two along the slit changes no sum."""
    whole = shares(31.0, -0.7, 0.45)[0]
    parts = shares(31.0, -0.7, -0.1)[0] + shares(31.0, -0.1, 0.45)[0]
    np.testing.assert_allclose(whole[1], parts[1], atol=2e-6)
    np.testing.assert_allclose(whole[4], 2 * whole[1], atol=1e-6)  # time x coverage
    assert set(np.unique(whole[5])) <= {0.0, 1.0}


def rebin(values, lam, edges, weights=None):
    ny, nx = values.shape
    weights = np.ones((ny, nx)) if weights is None else weights
    rows = np.zeros((5, ny, edges.size - 1), np.float32)
    bounds = np.zeros((2, ny, edges.size - 1), np.float32)
    y = np.arange(ny)[:, None] + np.zeros(nx + 1) + 0.1 * np.arange(nx + 1)
    touched = rebin_rows(
        lam, y, y + 1, values.astype(np.float32), values.astype(np.float32),
        weights.astype(np.float32), edges, rows, bounds,
    )  # fmt: skip
    return rows, bounds, touched


def test_rebinning_conserves_flux():
    rng = np.random.default_rng(2)
    lam = 1 + np.cumsum(rng.uniform(0.01, 0.03, (3, 41)), axis=1)
    values = rng.uniform(1, 2, (3, 40))
    edges = np.linspace(0.9, 3.0, 57)
    rows, _, _ = rebin(values, lam, edges)
    flux = (rows[0] * np.diff(edges)).sum(axis=1)
    np.testing.assert_allclose(flux, (values * np.diff(lam, axis=1)).sum(axis=1), rtol=1e-5)
    # the variance of a channel goes with the squares of the parts
    low, high = np.maximum(lam[1, :-1], edges[20]), np.minimum(lam[1, 1:], edges[21])
    part = np.clip(high - low, 0, None) / (edges[21] - edges[20])
    assert rows[2, 1, 20] == pytest.approx((part**2 * values[1]).sum(), rel=1e-5)


def test_rebinning_onto_a_part_of_the_range():
    lam = np.linspace(1, 2, 11)[None]
    values = np.arange(10.0)[None]
    edges = np.array([1.25, 1.45, 1.6])
    rows, bounds, touched = rebin(values, lam, edges)
    assert touched.tolist() == [[0, 2]]
    np.testing.assert_allclose(rows[0, 0], [(0.5 * 2 + 3 + 0.5 * 4) / 2, (0.5 * 4 + 5) / 1.5], 1e-5)
    np.testing.assert_allclose(bounds[0, 0], [0.1 * 3.5, 0.1 * 5.25], rtol=1e-5)


def test_pixels_without_weight_are_left_out():
    lam = np.linspace(1, 2, 11)[None]
    weights = np.ones((1, 10))
    weights[0, 4] = 0
    rows, _, _ = rebin(np.full((1, 10), 7.0), lam, np.linspace(1, 2, 6), weights)
    np.testing.assert_allclose(rows[1, 0], [1, 1, 0.5, 1, 1], rtol=1e-5)
    np.testing.assert_allclose(rows[0] / rows[1], 7, rtol=1e-6)


def test_covered_part_of_cells():
    """Slits of 4 cells at 0, 4.2 (a gap of 0.2) and 7 (an overlap of 1.2): cells 0 to 10."""
    covered = _covered(np.array([7.0, 0.0, 4.2]), 4.0, 13)
    assert covered == pytest.approx([1, 1, 1, 1, 0.8, 1, 1, 1, 1, 1, 1, 1, 1])
    # the border: the last slit ends at 11.5; cells that no slit reaches count as whole
    covered = _covered(np.array([0.5, 7.5]), 4.0, 13)
    assert covered == pytest.approx([0.5, 1, 1, 1, 0.5, 1, 1, 0.5, 1, 1, 1, 0.5, 1])
