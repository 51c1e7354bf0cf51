"""The pixels of the exposures of one strip of the sky, and how far each is off all others.

The exposures are brought into register first: pointings are off by some milliarcseconds, and a slit
that is off across itself sees more or less of a source. What is left of such differences is
measured and allowed for, so that steep cores and narrow lines are no outliers.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from msa3d_steps.outlier.profiles import (
    fit_channels,
    local_levels,
    place_pixels,
    seen_by_others,
    sort_samples,
)

__all__ = ["Part", "Samples"]

KNOT = 0.5
"""Distance of the knots of a profile, pixels."""

CURVATURE = 0.6
"""Second difference of a profile at its knots that is likely, in local contrasts; that of a point
source whose light falls into one pixel and a half."""

FLOOR = 0.2
"""The same where there is no contrast, in standard deviations of a pixel."""

REACH = 1.0
"""Pixels to the nearest of another exposure within which that says something of a pixel."""

REGISTRATIONS = 8
"""Most fits after which exposures are brought into register."""

SIGNIFICANT, SMALL = 4.0, 0.01
"""Standard deviations that a measured difference of exposures must have, and what is negligible."""

CLEANINGS = 2
"""Fits after these, each without the outliers that the last one found."""

FEWEST_FITS = 3
"""Fits before outliers are told apart: what is between channels comes from the fit before."""

MARGIN = 1.0
"""Room at the ends of a profile for exposures that are shifted, pixels."""

LIKELY = (0.3, 0.2, 0.1)
"""Likely error of place (pixels), relative difference of brightness, and its change from the middle
to the ends of the wavelengths."""

FIRST_MISMATCH = 0.5
"""Relative difference of brightness to allow for before it is measured."""

LARGE, FEWEST = 10.0, 100
"""Signal to noise of the samples that differences of brightness are measured with, and the least
number of them."""

USUAL, STEEPEST = 31, 20.0
"""Channels that tell what is usual, and the largest factor that is believed."""

HIGH, HIGH_SQUARE = 0.8, 1.642
"""Quantile of the square of differences that is compared with that of a normal variable."""

HUBER = 3.0
"""Samples farther off than this, in standard deviations, count less for the registration."""


@dataclass(frozen=True)
class Part:
    """Where the samples of a cutout are: their slice, and their pixels as (rows, columns)."""

    span: slice
    pixels: tuple


class Samples:
    """The usable pixels of a strip as samples of profiles."""

    def __init__(self, members):
        channels = _channels([m.cutout.footprint for m in members])
        self.n_channels = channels.size
        self.parts, arrays, count = [], [], 0
        for member in members:
            pixels, values = _samples_of(member, channels)
            self.parts.append(Part(slice(count, count + pixels[0].size), pixels))
            arrays.append(values)
            count += pixels[0].size
        channel, y, offset, value, variance, overlap = (
            np.concatenate(a) for a in zip(*arrays, strict=True)
        )
        member = np.repeat(np.arange(len(arrays)), [a[0].size for a in arrays])
        self.start, self.order = sort_samples(channel, self.n_channels)
        y -= y.min() - MARGIN
        self.y, self.offset, self.value, self.variance, self.overlap, self.channel, self.member = (
            a[self.order] for a in (y, offset, value, variance, overlap, channel, member)
        )
        self.n_members = len(arrays)
        self.longest = float(self.y.max()) + MARGIN
        self.n_cells = int(self.longest) + 1
        self.n_knots = int(self.longest / KNOT) + 4

    def compare(self, options):
        """Compare each sample with the others.

        Returns
        -------
        score, expected : numpy.ndarray
            Shape ``(n,)``, in the order of the cutouts: distance from the expectation in standard
            deviations, and the expectation; NaN where the others say nothing.
        """
        level, contrast, noise = self._levels()
        here = self.channel, np.minimum(self.y.astype(int), self.n_cells - 1)
        # what no other exposure shows nearby is left out of the first fit
        near = (options.misregistration * contrast + FIRST_MISMATCH * level)[here]
        own = self.variance + ((1 - self.overlap) * level[here]) ** 2
        masked = self.value - level[here] > options.snr * np.hypot(np.sqrt(own), near)
        # a profile of one exposure alone cannot tell a source from an outlier
        alone = ~seen_by_others(self.start, self.y, self.member, REACH)
        masked &= ~alone
        prior = self._prior(contrast, noise)
        size = self.n_channels, self.n_knots
        before, result = np.zeros(size), np.zeros(size)
        slopes, steep, expected, deviation = (np.zeros(self.y.size) for _ in range(4))
        y, gain = self.y, np.ones(self.y.size, np.float32)
        slack, mismatch = options.misregistration, 0.0
        fits = registrations = cleanings = 0
        while True:
            fit_channels(
                self.start, y, self.offset, self.value / gain, own / gain**2, masked, prior, KNOT,
                before, slack, mismatch, result, slopes, steep, expected, deviation,
            )  # fmt: skip
            before, result = result, before
            expected[alone] = np.nan
            score = (self.value / gain - expected) / deviation
            if registrations < REGISTRATIONS:
                y, gain, is_off = self._register(y, gain, expected, slopes, deviation, score)
                registrations = registrations + 1 if is_off else REGISTRATIONS
                if is_off:
                    continue
            fits += 1
            if fits < FEWEST_FITS:
                continue
            if cleanings == CLEANINGS:
                break
            noise = np.sqrt(own) / gain
            steepness = _excess(steep / noise, noise, deviation, score, slack)
            brightness = _excess(expected / noise, noise, deviation, score, mismatch)
            slack, mismatch = max(steepness, options.misregistration), brightness
            masked = np.abs(score) > options.snr
            cleanings += 1
        back = np.empty(self.order.size, np.int64)
        back[self.order] = np.arange(self.order.size)
        return score[back], (expected * gain)[back]

    def _register(self, y, gain, expected, slopes, deviation, score):
        """Measure by how much each exposure is off the others along the slit and in brightness.

        A slit that is off across the slit sees more or less of a source.
        """
        known = np.isfinite(score)
        weight = np.where(known, np.minimum(1, HUBER / np.maximum(np.abs(score), HUBER)), 0)
        weight = weight / np.where(known, deviation, 1) ** 2
        residual = np.where(known, score * deviation, 0)
        model = np.where(known, expected, 0)
        n = self.n_members

        # residual = shift x slope + change x model; the change differs from blue to red, as the
        # point spread function does
        color = 2 * self.channel / self.n_channels - 1
        terms = (slopes, model, model * color)
        normal = np.zeros((n, 3, 3))
        target = np.zeros((n, 3))
        for i, term in enumerate(terms):
            weighted = weight * term
            target[:, i] = np.bincount(self.member, weighted * residual, n)
            for j in range(i + 1):
                normal[:, i, j] = normal[:, j, i] = np.bincount(self.member, weighted * terms[j], n)
            normal[:, i, i] += 1 / LIKELY[i] ** 2
        found = np.linalg.solve(normal, target[:, :, None])[:, :, 0]
        found = (found - found.mean(axis=0)) * (n - 1) / n  # what is expected is the others' alone
        is_off = found**2 * np.einsum("nii->ni", normal) > SIGNIFICANT**2
        is_off &= np.abs(found) > SMALL
        found = np.where(is_off, found, 0)
        shift, change, tilt = found[self.member].T
        y = np.clip(y + shift, 0, self.longest)
        gain = gain * np.clip(1 + change + tilt * color, 0.2, 3).astype(np.float32)
        return y, gain, is_off.any()

    def _prior(self, contrast, noise):
        """Likely second differences of the profiles at their knots."""
        cells = (np.arange(self.n_knots - 2) * KNOT).astype(int)
        prior = CURVATURE * contrast + FLOOR * noise
        return prior[:, np.minimum(cells, self.n_cells - 1)]

    def _levels(self):
        """Largest brightness and contrast near each cell of one pixel, and noise."""
        shape = self.n_channels, self.n_cells
        level, highest, noise = (np.full(shape, np.nan, np.float32) for _ in range(3))
        local_levels(
            self.start, self.y, self.value, self.variance, self.n_cells, level, highest, noise
        )
        known = np.isfinite(level)
        noise = np.where(known, noise, np.median(noise[known]) if known.any() else 1.0)
        level = np.where(known, level * _steepness(level, highest, noise), 0)
        contrast = ndimage.maximum_filter1d(level, 3, axis=1)
        contrast -= ndimage.minimum_filter1d(level, 3, axis=1)
        return np.maximum(ndimage.maximum_filter(level, 3), 0), contrast, noise


def _steepness(level, highest, noise):
    """How much brighter the brightest exposure is, usually, than those that set the level.

    A profile may be so steep that one exposure alone has its peak in a pixel. It is there in most
    channels; a hit is not.
    """
    usual, high = (ndimage.median_filter(np.nan_to_num(a), (USUAL, 1)) for a in (level, highest))
    excess = np.maximum(high - usual - 2 * noise, 0)  # of noise, the largest of seven has 1.4
    return 1 + np.minimum(excess / np.maximum(usual, noise), STEEPEST)


def _excess(size, noise, deviation, score, before):
    """Measure by how much samples differ more than they should, as a part of something.

    `size` is that, in standard deviations of the noise; those for which it is large are used.
    """
    with np.errstate(invalid="ignore"):
        large = (size > LARGE) & np.isfinite(score)
    if large.sum() < FEWEST:
        return before
    part = deviation[large] / (size[large] * noise[large])
    excess = (score[large] ** 2 / HIGH_SQUARE - 1) * part**2
    return np.sqrt(max(np.quantile(excess, HIGH) + before**2, 0.0))


def _samples_of(member, channels):
    """Make samples of the usable pixels of a cutout."""
    cutout, footprint = member.cutout, member.cutout.footprint
    middles, span = footprint.middles, footprint.span
    lam = footprint.wavelength(*middles)
    channel, offset = np.empty(lam.shape, np.int32), np.empty(lam.shape, np.float32)
    place_pixels(lam, channels, channel, offset)
    data, variance = (a[:, span] for a in (cutout.data, cutout.variance))
    usable = np.isfinite(data) & (variance > 0) & np.isfinite(variance) & (channel >= 0)
    y = member.zero + member.scale * footprint.along(*middles)[usable]
    row, column = np.nonzero(usable)
    return (row, column + span.start), (
        channel[usable], y, offset[usable], data[usable], variance[usable],
        np.full(row.size, member.overlap, np.float32),
    )  # fmt: skip


def _channels(footprints):
    """Give the wavelengths of channels about as wide as pixels that cover all footprints."""
    lines, ends = [], []
    for footprint in footprints:
        columns, rows = footprint.middles
        lines.append(np.sort(footprint.wavelength(columns, rows[[rows.size // 2]])[0]))
        ends.append(footprint.wavelength(columns[[0, -1]], rows))
    longest = max(lines, key=np.ptp)
    low, high = min(e.min() for e in ends), max(e.max() for e in ends)
    first, last = longest[1] - longest[0], longest[-1] - longest[-2]
    below = longest[0] - first * np.arange(np.ceil((longest[0] - low) / first), 0, -1)
    above = longest[-1] + last * np.arange(1, np.ceil((high - longest[-1]) / last) + 1)
    return np.concatenate([below, longest, above])
