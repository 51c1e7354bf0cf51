"""The image of a source in one band, as the slits saw it, and how it tells where they were.

The image is a smooth body (`body`) and what it deviates from it: a sum of cubic B-splines, with a
prior for their values and second differences in parts of the brightness nearby (P-splines in two
dimensions: Eilers & Marx 2003, Chemometr. Intell. Lab. 66, 159). How large a part is chosen by the
data: the evidence is largest where the part is that of the fit itself (MacKay 1992, Neural Comput.
4, 415).

For the offsets of the exposures body and deviation are nuisances: of their normal equations what
the image can explain is taken off (Schur complements), so that the errors of the offsets contain
that of the image.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.optimize import nnls

from msa3d_steps.cube.registration.body import PARAMETERS, WIDTHS, Body, Boxes, see
from msa3d_steps.cube.registration.splines import (
    REACH,
    Knots,
    band_of,
    differences,
    mean_over,
    slope_of_mean,
)

__all__ = ["BandImage", "Pull"]

FWHM = 2.3548

DISTANCE = 0.075
"""Distance of the knots of the deviation, arcsec; more at wavelengths where the PSF is broader."""

ROOM = 0.1
"""Room for exposures that are shifted, arcsec."""

MOST_KNOTS = 1500
"""Where an image needs more splines than this, its knots are farther apart."""

STIFFNESS = 1.0
"""Weight of second differences of the deviation relative to its values."""

FLOOR = 0.01
"""Least brightness for the prior, in parts of the largest."""

DEVIATION = 0.3, 1.5
"""Limits of the likely deviation in parts of the brightness nearby."""

PROBES = 32
"""Random vectors that the trace of a matrix is estimated with."""

HUBER = 3.0
"""Values farther off than this, in standard deviations, count less."""

SMALL_MOVE = 1e-3
"""Change of the parameters of the body that derivatives are taken with."""


@dataclass(frozen=True)
class Pull:
    """What a band says about the offsets of all exposures.

    Parameters
    ----------
    normal : numpy.ndarray
        Shape ``(2 n, 2 n)``: inverse covariance of across and along offsets, 1 / arcsec^2; first
        those across of all exposures, then those along.
    target : numpy.ndarray
        Shape ``(2 n,)``: gradient, 1 / arcsec; the best change of the offsets solves
        ``normal @ change = target``.
    known : numpy.ndarray
        Shape ``(n,)``: inverse variance of the offsets across for a given image.
    """

    normal: np.ndarray
    target: np.ndarray
    known: np.ndarray


class BandImage:
    """The image of a source in one band.

    Parameters
    ----------
    profiles : list of ~msa3d_steps.cube.registration.profiles.Profile
        The exposures.
    band : int
        Which band.
    wave : float
        Its mean wavelength, um.
    n_exposures : int
        Number of all exposures, of which the source may have been seen in some.
    """

    def __init__(self, profiles, band, wave, n_exposures):
        self.n_exposures = n_exposures
        own = [(p, p.band == band) for p in profiles if (p.band == band).any()]
        sizes = [int(inside.sum()) for _, inside in own]
        self.exposure = np.repeat([p.exposure for p, _ in own], sizes)
        half = np.repeat([0.5 * p.width for p, _ in own], sizes)
        across = np.repeat([p.across for p, _ in own], sizes)
        low, high, self.value, self.variance = (
            np.concatenate([getattr(p, name)[inside] for p, inside in own])
            for name in ("low", "high", "value", "variance")
        )
        self.nominal = Boxes(across - half, across + half, low, high)
        ends = np.cumsum(sizes)
        self._parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        fwhm = np.hypot(1.03 * wave * 1e-6 / 6.5 * 206264.8, 0.05)  # as simulate.scene.psf has it
        self._lay_knots(max(DISTANCE, fwhm))
        self.body = Body(fwhm / FWHM, *self._middle())
        self.deviation = np.zeros(self.shape)
        self.amplitudes = np.zeros(len(WIDTHS) + 1)
        self.size, self.inflation, self.free = 0.5, 1.0, 0.0
        self._robust = np.ones(self.value.size)

    def _lay_knots(self, distance):
        box = self.nominal
        sides = (
            (box.left.min() - ROOM, box.right.max() + ROOM),
            (box.low.min() - ROOM, box.high.max() + ROOM),
        )
        while True:
            self.across, self.along = (Knots.cover(*side, distance) for side in sides)
            self.shape = self.across.number, self.along.number
            if self.across.number * self.along.number <= MOST_KNOTS:
                break
            distance *= 1.1
        widest = (box.right - box.left).max()
        self._reach = max(int(np.ceil(widest / distance + 2 * REACH)), 3) + 1
        self._differences = differences(self.shape)
        x, y = np.meshgrid(self.across.places, self.along.places, indexing="ij")
        half = 0.5 * distance
        self._cells = Boxes(*(a.ravel() for a in (x - half, x + half, y - half, y + half)))

    def _middle(self):
        """Middle of the light."""
        light = np.clip(self.value - np.quantile(self.value, 0.3), 0, None) ** 2
        x = 0.5 * (self.nominal.left + self.nominal.right)
        y = 0.5 * (self.nominal.low + self.nominal.high)
        return float((light * x).sum() / light.sum()), float((light * y).sum() / light.sum())

    def pull(self, offsets, spread):
        """Fit the image for given offsets, and tell what it says about them.

        Parameters
        ----------
        offsets : numpy.ndarray
            Shape ``(n_exposures, 2)``: across and along, arcsec.
        spread : numpy.ndarray
            Shape ``(n_exposures,)``: variance of the offsets across for given images, arcsec^2. The
            image is fitted to what exposures see that are spread so; without it the likeliest
            image is too narrow, for a steep one needs smaller offsets.

        Returns
        -------
        Pull
            In the axes of the source.
        """
        n = self.n_exposures
        boxes = self.nominal.moved(*offsets[self.exposure].T)
        self._bases = [self._basis(boxes, part) for part in self._parts]
        blur = np.sqrt(spread[self.exposure])
        weight = self._robust / (self.variance * self.inflation)
        seen, blurred = self._amplify(boxes, weight, blur)
        border, blurred_border = self._border(boxes, seen, blurred, blur)
        residual = self.value - seen @ self.amplitudes
        blurred_residual = -blurred @ self.amplitudes
        self._factor, prior = self._factorise(weight, blur)
        columns = np.column_stack([border, residual])
        blurred_columns = blur[:, None] * np.column_stack([blurred_border, blurred_residual])
        both = self._scatter(weight[:, None] * columns, weight[:, None] * blurred_columns)
        both = np.concatenate([both, self._scatter_offsets(weight)], axis=1)
        # columns: body, residual; then across and along of each exposure
        p = border.shape[1]
        solved = self._solve(both)
        coupling = np.delete(both, p, axis=1)
        normal = self._normal_of(border, weight)
        target = self._target_of(border, weight, residual)
        normal[:p, :p] += blurred_border.T @ (weight[:, None] * blurred_border)
        target[:p] += blurred_border.T @ (weight * blurred_residual)
        normal -= coupling.T @ np.delete(solved, p, axis=1)
        target -= coupling.T @ solved[:, p]
        body, moves = slice(0, p), slice(p, p + 2 * n)
        inner = normal[body, body].copy()
        inner[np.diag_indices(p)] *= 1 + 1e-9
        inner[np.diag_indices(p)] += 1e-12 * np.trace(inner) / p
        answer = np.linalg.solve(inner, np.column_stack([normal[body, moves], target[body]]))
        self._after = answer, solved, p, prior, weight
        return Pull(
            _symmetric(normal[moves, moves] - normal[moves, body] @ answer[:, :-1]),
            target[moves] - normal[moves, body] @ answer[:, -1],
            np.bincount(self.exposure, weight * self._offset_slopes[:, 0] ** 2, n),
        )

    def follow(self, change):
        """Change the image as a change of the offsets wants it.

        Parameters
        ----------
        change : numpy.ndarray
            Shape ``(2 n,)``: of the offsets across and along, in the axes of the source.
        """
        answer, solved, p, prior, weight = self._after
        body = answer[:, -1] - answer[:, :-1] @ change
        moved = np.concatenate([body, change])
        deviation = solved[:, p] - np.delete(solved, p, axis=1) @ moved
        self.deviation = deviation.reshape(self.shape)
        self.body = self.body.changed(body[:PARAMETERS])
        self._weigh_evidence(deviation, prior, weight)

    def signal_to_noise(self):
        """Squared signal to noise of the source in each exposure, all values taken together.

        Returns
        -------
        numpy.ndarray
            Shape ``(n_exposures,)``.
        """
        source = self._model - self.amplitudes[-1]
        return np.bincount(self.exposure, source**2 / self.variance, self.n_exposures)

    def _amplify(self, boxes, weight, blur):
        """See the Gaussians and a constant, and find their amplitudes, none below 0."""
        seen = np.column_stack([see(self.body, boxes), np.ones(boxes.low.size)])
        slopes = (see(self.body, boxes.moved(SMALL_MOVE, 0)) - seen[:, :-1]) / SMALL_MOVE
        blurred = np.column_stack([slopes, np.zeros(boxes.low.size)])
        deviation, slope = self._gather(self.deviation)
        rest = self.value - deviation
        # the constant may be below 0: it is counted from far below
        sky = np.quantile(self.value, 0.02) - abs(np.quantile(self.value, 0.98))
        root = np.sqrt(weight)[:, None]
        design = np.concatenate([seen * root, blurred * root * blur[:, None]])
        wanted = np.concatenate([(rest - sky) * root[:, 0], -slope * blur * root[:, 0]])
        self.amplitudes = nnls(design, wanted)[0]
        self.amplitudes[-1] += sky
        self._model = seen @ self.amplitudes + deviation
        score = (self.value - self._model) / np.sqrt(self.variance * self.inflation)
        self._robust = np.minimum(1, HUBER / np.maximum(np.abs(score), HUBER))
        self._chi2 = float(np.sum(self._robust * score**2))
        return seen, blurred * blur[:, None]

    def _border(self, boxes, seen, blurred, blur):
        """Give the columns of the body's parameters, for what is seen and for its blur.

        The slopes by the offsets of each value's exposure are kept.
        """
        light = seen[:, :-1] @ self.amplitudes[:-1]
        slope = blurred[:, :-1] @ self.amplitudes[:-1]
        shape, blurred_shape = np.empty((2, light.size, PARAMETERS))
        for number in range(PARAMETERS):
            change = np.zeros(PARAMETERS)
            change[number] = SMALL_MOVE
            body = self.body.changed(change)
            moved = see(body, boxes) @ self.amplitudes[:-1]
            beside = see(body, boxes.moved(SMALL_MOVE, 0)) @ self.amplitudes[:-1]
            shape[:, number] = (moved - light) / SMALL_MOVE
            blurred_shape[:, number] = (blur * (beside - moved) / SMALL_MOVE - slope) / SMALL_MOVE
        self._offset_slopes = -shape[:, :2]
        self._offset_slopes[:, 0] += self._gather(self.deviation)[1]
        for part, (across, _, _) in zip(self._parts, self._bases, strict=True):
            slope_y = slope_of_mean(self.along, boxes.low[part], boxes.high[part])
            self._offset_slopes[part, 1] += slope_y @ (across @ self.deviation)
        active = np.append(self.amplitudes[:-1] > 0, True)
        return (
            np.column_stack([shape, seen[:, active]]),
            np.column_stack([blurred_shape, blurred[:, active]]),
        )

    def _normal_of(self, border, weight):
        slopes = self._offset_slopes
        n, p = self.n_exposures, border.shape[1]
        normal = np.zeros((p + 2 * n, p + 2 * n))
        normal[:p, :p] = border.T @ (weight[:, None] * border)
        for i in range(2):
            for k in range(p):
                normal[k, p + i * n : p + (i + 1) * n] = np.bincount(
                    self.exposure, weight * slopes[:, i] * border[:, k], n
                )
            for j in range(2):
                product = np.bincount(self.exposure, weight * slopes[:, i] * slopes[:, j], n)
                places = p + i * n + np.arange(n), p + j * n + np.arange(n)
                normal[places] = product
        normal[p:, :p] = normal[:p, p:].T
        return normal

    def _target_of(self, border, weight, residual):
        n = self.n_exposures
        moves = [
            np.bincount(self.exposure, weight * residual * s, n) for s in self._offset_slopes.T
        ]
        return np.concatenate([border.T @ (weight * residual), *moves])

    def _factorise(self, weight, blur):
        """Cholesky factor of the normal equations of the deviation, and its prior."""
        body = see(self.body, self._cells) @ self.amplitudes[:-1]
        light = ndimage.gaussian_filter(np.abs(body.reshape(self.shape) + self.deviation), 1.0)
        level = light + FLOOR * light.max()
        centre, rows = self._differences
        scaled = sparse.diags_array(STIFFNESS / level.ravel()[centre]) @ rows
        prior = (scaled.T @ scaled + sparse.diags_array(level.ravel() ** -2.0)).tocsr()
        band = self._normal_band(weight, blur)
        band += band_of(prior / self.size**2, band.shape[0])
        factor = cholesky_banded(band, overwrite_ab=True, lower=True, check_finite=False)
        return factor, prior

    def _weigh_evidence(self, deviation, prior, weight):
        """Choose noise and size of the deviation for the next fit."""
        random = np.random.default_rng(1)
        probes = random.choice([-1.0, 1.0], (self.value.size, PROBES))
        thrown = self._scatter(np.sqrt(weight)[:, None] * probes, None)
        self.free = float(np.sum(self._solve(thrown) * thrown) / PROBES)
        ratio = self._chi2 / max(self.value.size - self.free - len(WIDTHS) - PARAMETERS, 1.0)
        self.inflation = max(self.inflation * ratio, 1.0)
        size = np.sqrt(float(deviation @ (prior @ deviation)) / max(self.free, 0.5))
        size = np.clip(size, 0.5 * self.size, 2 * self.size)
        self.size = float(np.clip(size, *DEVIATION))

    def _basis(self, boxes, part):
        """Give means of the splines across and along, and the slope of those across."""
        ends = [np.array([a[part.start]]) for a in (boxes.left, boxes.right)]
        along = mean_over(self.along, boxes.low[part], boxes.high[part])
        return mean_over(self.across, *ends)[0], along, slope_of_mean(self.across, *ends)[0]

    def _gather(self, image):
        """Means of a spline image over the boxes, and their slopes across."""
        both = [(along @ (a @ image), along @ (s @ image)) for a, along, s in self._bases]
        return np.concatenate(both, axis=1)

    def _scatter(self, columns, blurred):
        """Transpose of `_gather`, of several columns."""
        total = np.zeros((*self.shape, columns.shape[1]))
        for part, (across, along, slope) in zip(self._parts, self._bases, strict=True):
            seen = np.flatnonzero(across)
            near = slice(seen[0], seen[-1] + 1)
            total[near] += across[near, None, None] * (along.T @ columns[part])
            if blurred is not None:
                total[near] += slope[near, None, None] * (along.T @ blurred[part])
        return total.reshape(-1, columns.shape[1])

    def _scatter_offsets(self, weight):
        """Do the same with the slopes by the offsets, a column for each exposure."""
        n = self.n_exposures
        total = np.zeros((*self.shape, 2 * n))
        weighted = weight[:, None] * self._offset_slopes
        for part, (across, along, _) in zip(self._parts, self._bases, strict=True):
            seen = np.flatnonzero(across)
            first, last = seen[0], seen[-1] + 1
            number = self.exposure[part.start]
            for i in range(2):
                thrown = along.T @ weighted[part, i]
                total[first:last, :, i * n + number] += np.outer(across[first:last], thrown)
        return total.reshape(-1, 2 * n)

    def _solve(self, target):
        return cho_solve_banded((self._factor, True), target, check_finite=False)

    def _normal_band(self, weight, blur):
        """Lower band of the normal equations of the deviation, without its prior."""
        nx, ny = self.shape
        products = np.zeros((2 * len(self._parts), self._reach, nx))
        inner = np.empty((2 * len(self._parts), ny * ny))
        number = 0
        for part, (across, along, slope) in zip(self._parts, self._bases, strict=True):
            for basis, own in ((across, weight), (slope, weight * blur**2)):
                inner[number] = ((along * own[part, None]).T @ along).ravel()
                for far in range(self._reach):
                    products[number, far, : nx - far] = basis[: nx - far] * basis[far:]
                number += 1
        blocks = products.reshape(2 * len(self._parts), -1).T @ inner
        blocks = blocks.reshape(self._reach, nx, ny, ny)
        band = np.zeros((self._reach * ny, nx, ny))
        for far in range(self._reach):
            for below in range(1 - ny if far else 0, ny):  # element (i + below, i) of a block
                diagonal = np.diagonal(blocks[far], below, 1, 2)
                first = max(-below, 0)
                band[far * ny + below, :, first : first + diagonal.shape[1]] += diagonal
        return band.reshape(-1, nx * ny)


def _symmetric(matrix):
    return 0.5 * (matrix + matrix.T)
