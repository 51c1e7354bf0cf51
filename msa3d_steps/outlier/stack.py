"""Outliers found by what the other exposures of the same place say.

Slit stepping sees each strip of the sky in several dithers. The exposures of one step are fitted
together (`profiles`), and a pixel that is too far off what the others make expect is an outlier.
Steps whose slits overlap help, with an uncertainty for the part of the sky that they do not share.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from msa3d_steps.cube.pattern import find_pattern
from msa3d_steps.outlier.samples import Samples

__all__ = ["Found", "StackOptions", "find_outliers"]

LEAST_OVERLAP = 0.4
"""Slits of other steps that share less than this part of their width are not used."""


@dataclass(frozen=True)
class StackOptions:
    """When a pixel is an outlier.

    Parameters
    ----------
    snr : float
        Distance from the expectation in standard deviations, those of the expectation included.
    snr_near : float
        The same for pixels that touch an outlier.
    misregistration : float
        Least error of the places of exposures to allow for, detector pixels and channels.
    threads : int
        Number of steps that are worked on at the same time.
    """

    snr: float = 4.5
    snr_near: float = 2.5
    misregistration: float = 0.05
    threads: int = 1


@dataclass
class Found:
    """What was found in each cutout.

    Parameters
    ----------
    masks : list of numpy.ndarray
        Boolean, shape ``(ny, nx)``: outliers.
    expected : list of numpy.ndarray
        Shape ``(ny, nx)``, MJy/sr: expectation from the other exposures; NaN where there is none.
    tested : list of int
        Number of pixels that others could be compared with.
    alone : list of int
        Steps (0-based) of which there is one exposure only, so that nothing can be compared.
    """

    masks: list
    expected: list
    tested: list
    alone: list = field(default_factory=list)


def find_outliers(source, options):
    """Find the outliers in the cutouts of a source.

    Parameters
    ----------
    source : ~msa3d_steps.cube.sources.Source
        The cutouts.
    options : StackOptions
        When a pixel is an outlier.

    Returns
    -------
    Found
        Masks and expectations, in the order of the cutouts.
    """
    cutouts = source.cutouts
    pattern = find_pattern(cutouts)
    found = Found(
        [np.zeros(c.data.shape, bool) for c in cutouts],
        [np.full(c.data.shape, np.nan, np.float32) for c in cutouts],
        [0] * len(cutouts),
    )
    strips = list(_strips(cutouts, pattern))

    def work(strip):
        if len(strip.exposures) < 2:
            found.alone.append(strip.step)
            return
        _find_in_strip(strip, options, found)

    if options.threads > 1:
        with ThreadPoolExecutor(options.threads) as pool:
            list(pool.map(work, strips))
    else:
        for strip in strips:
            work(strip)
    found.alone = sorted(set(found.alone))
    return found


@dataclass(frozen=True)
class _Member:
    """A cutout in a strip: its number, zero and scale along the slit in pixels, shared width."""

    number: int
    cutout: object
    zero: float
    scale: float
    overlap: float


@dataclass(frozen=True)
class _Strip:
    """The cutouts of one detector that saw one strip of the sky, those of its own step first."""

    step: int
    own: int
    members: list

    @property
    def exposures(self):
        """Exposures that saw it and have data."""
        return {m.cutout.exposure for m in self.members if m.cutout.used}


def _strips(cutouts, pattern):
    """Sort cutouts into strips."""
    detectors = np.array([c.detector for c in cutouts])
    for group in range(pattern.turned.max() + 1):
        in_group = np.flatnonzero(pattern.turned == group)
        first = cutouts[in_group[0]].footprint
        center = first.center
        affine = {i: cutouts[i].footprint.to_plane(*center) for i in in_group}
        offset, matrix = affine[in_group[0]]
        to_slit = np.linalg.inv(matrix)
        place = {i: to_slit @ (affine[i][0] - offset) for i in in_group}  # slit widths, y_slit
        unit = {i: (to_slit @ affine[i][1])[1, 1] for i in in_group}
        for detector in np.unique(detectors[in_group]):
            here = in_group[detectors[in_group] == detector]
            for step in np.unique(pattern.step[here]):
                own = here[pattern.step[here] == step]
                middle = np.mean([place[i][0] for i in own])
                shared = {i: 1 - abs(place[i][0] - middle) for i in here}
                others = [i for i in here if i not in own and shared[i] >= LEAST_OVERLAP]
                yield _Strip(
                    int(step),
                    len(own),
                    [
                        _Member(
                            int(i), cutouts[i], place[i][1] / first.row_height,
                            unit[i] / first.row_height, 1.0 if i in own else shared[i],
                        )
                        for i in [*own, *others]
                    ],
                )  # fmt: skip


def _find_in_strip(strip, options, found):
    """Find the outliers of the cutouts of one step and detector."""
    samples = Samples(strip.members)
    score, expected = samples.compare(options)
    for number, (member, part) in enumerate(zip(strip.members, samples.parts, strict=True)):
        if number >= strip.own:
            break
        shape = member.cutout.data.shape
        distance = np.zeros(shape, np.float32)
        distance[part.pixels] = np.nan_to_num(np.abs(score[part.span]))
        found.masks[member.number] = _grown(distance, options)
        found.expected[member.number][part.pixels] = expected[part.span]
        found.tested[member.number] = int(np.isfinite(score[part.span]).sum())


def _grown(distance, options):
    """Give the pixels above the first limit, and those above the second that touch them."""
    seeds = distance > options.snr
    if not seeds.any():
        return seeds
    near = distance > min(options.snr_near, options.snr)
    return ndimage.binary_propagation(seeds, np.ones((3, 3)), near)
