"""Offsets of exposures from what they saw of the same sources: image and offsets fitted jointly.

Every exposure is off by an error of its own, along and across the slits, and those of a step
share one across. These three are normal variables, whose widths come out of the data. The offsets
are improved by Gauss-Newton steps, between which the images are fitted again (variable projection:
Golub & Pereyra 1973, SIAM J. Numer. Anal. 10, 413); the covariance is that of the last step.
"""

import logging
from dataclasses import dataclass

import numpy as np

__all__ = ["Fitted", "fit_offsets"]

log = logging.getLogger(__name__)

FIRST_WIDTHS = 0.03, 0.03, 0.02
"""Errors along, across, and across of a step that are likely before they are measured, arcsec."""

BELIEF = 5.0
"""Number of offsets that this belief counts as much as."""

WIDEST, NARROWEST = 1.5, 0.1
"""Limits of what is found for them, in parts of these; both across change alike."""

LONGEST_STEP = 0.03
"""Largest change of an offset in one step, arcsec."""

SMALL, LEAST = 0.1, 1e-3
"""Changes that end the fit, in standard deviations or else arcsec."""

UNSETTLED = 3.0
"""Offsets that still change by this much more at the last step are not known."""

NARROW = 0.05
"""Exposures that scatter by less than this across the slits, arcsec, cannot stretch an image."""

MOST_STEPS = 25


@dataclass(frozen=True)
class Fitted:
    """Offsets that are added to where the exposures are said to have looked.

    Parameters
    ----------
    offsets : numpy.ndarray
        Shape ``(n, 2)``: across and along, arcsec.
    covariance : numpy.ndarray
        Shape ``(2 n, 2 n)``: first those across.
    widths : tuple of float
        Widths of the errors along, across, and across of a step, arcsec.
    settled : numpy.ndarray
        Bool, shape ``(n, 2)``: offsets that the last step did not change much.
    steps : int
        Gauss-Newton steps made.
    """

    offsets: np.ndarray
    covariance: np.ndarray
    widths: tuple
    settled: np.ndarray
    steps: int


def fit_offsets(images, turns, step, across):
    """Fit the offsets of exposures.

    Parameters
    ----------
    images : list of ~msa3d_steps.cube.registration.scene.BandImage
        Images of all sources in all bands. Changed in place.
    turns : list of numpy.ndarray
        Shape ``(2, 2)`` each: from offsets to the axes of the image.
    step : numpy.ndarray
        Shape ``(n,)``: 0-based step of each exposure.
    across : numpy.ndarray
        Shape ``(n,)``: where each exposure is said to have been across the slits, arcsec.

    Returns
    -------
    Fitted
        The offsets.
    """
    n = step.size
    # parameters: along, across, across of the step
    from_parameters = np.zeros((2 * n, 2 * n + step.max() + 1))
    from_parameters[n:, :n] = np.eye(n)
    from_parameters[:n, n : 2 * n] = np.eye(n)
    from_parameters[np.arange(n), 2 * n + step] = 1
    classes = np.repeat([0, 1, 2], [n, n, step.max() + 1])
    widths = np.array(FIRST_WIDTHS)
    theta = np.zeros(classes.size)
    spread = np.zeros(n)
    before, trust = np.zeros(theta.size), np.ones(theta.size)
    for count in range(1, MOST_STEPS + 1):
        offsets = (from_parameters @ theta).reshape(2, n).T
        normal, target, known = _pull_of_all(images, turns, offsets, spread)
        spread = _spread(known, widths, step)
        prior = 1 / widths[classes] ** 2
        inner = from_parameters.T @ normal @ from_parameters + np.diag(prior)
        covariance = np.linalg.inv(inner)
        change = covariance @ (from_parameters.T @ target - prior * theta)
        even, measure = _unseen(known, widths, across)
        unseen = np.kron(np.eye(2), measure) @ from_parameters
        coupling = covariance @ unseen.T
        change -= coupling @ np.linalg.solve(unseen @ coupling, unseen @ (theta + change))
        moved = from_parameters @ change
        shift = from_parameters @ (change * min(1, LONGEST_STEP / max(np.abs(moved).max(), 1e-12)))
        _follow(images, turns, shift)
        trust = np.where(change * before < 0, 0.5 * trust, np.minimum(1.2 * trust, 1))
        before = change
        largest = np.abs(moved).max()
        theta = theta + trust * change * min(1, LONGEST_STEP / max(largest, 1e-12))
        free = 1 - np.diag(covariance) * prior
        old = widths.copy()
        for kinds in ((0,), (1, 2)):
            own = np.isin(classes, kinds)
            ratio = np.sum((theta / np.array(FIRST_WIDTHS)[classes])[own] ** 2)
            ratio = np.sqrt((ratio + BELIEF) / (free[own].sum() + BELIEF))
            for kind in kinds:
                widths[kind] = FIRST_WIDTHS[kind] * np.clip(ratio, NARROWEST, WIDEST)
        log.debug("step %d: largest change %.2f mas, widths %s", count, 1e3 * largest, 1e3 * widths)
        full = from_parameters @ covariance @ from_parameters.T
        small = np.maximum(SMALL * np.sqrt(np.clip(np.diag(full), 0, None)), LEAST)
        if count > 3 and np.all(np.abs(moved) < small) and np.all(np.abs(widths / old - 1) < 0.2):
            break
    offsets = (from_parameters @ theta).reshape(2, n).T
    full = _with_unseen(full, even, measure, widths, step)
    settled = (np.abs(moved) < UNSETTLED * small).reshape(2, n).T
    return Fitted(offsets, full, tuple(widths.tolist()), settled, count)


def _unseen(known, widths, across):
    """Give what no overlap can tell.

    An image that is shifted, stretched across the slits or sheared along them explains offsets that
    change evenly across the slits. Such a part is left out of the offsets of those exposures that
    see the source, and its likely size counts among their errors.

    Returns
    -------
    even : numpy.ndarray
        Shape ``(n, m)``: offsets that cannot be seen.
    measure : numpy.ndarray
        Shape ``(m, n)``: the amounts of these in given offsets.
    """
    weight = known / (known + 1 / (widths[1] ** 2 + widths[2] ** 2)) + 1e-6
    middle = np.average(across, weights=weight)
    even = [np.ones(across.size)]
    if np.sqrt(np.average((across - middle) ** 2, weights=weight)) > NARROW:
        even.append(across - middle)
    even = np.stack(even, axis=1)
    weighted = even.T * weight
    return even, np.linalg.solve(weighted @ even, weighted)


def _with_unseen(covariance, even, measure, widths, step):
    """Put the likely size of what cannot be seen into the covariance of the offsets."""
    n = step.size
    priors = _prior_across(widths, step), widths[0] ** 2 * np.eye(n)
    full = covariance.copy()
    for number, prior in enumerate(priors):
        own = slice(number * n, (number + 1) * n)
        rest = np.eye(n) - even @ measure
        full[own, own] = rest @ covariance[own, own] @ rest.T
        full[own, own] += even @ (measure @ prior @ measure.T) @ even.T
    return full


def _prior_across(widths, step):
    """Covariance of the offsets across before anything is measured."""
    same = (step[:, None] == step).astype(float)
    return widths[1] ** 2 * np.eye(step.size) + widths[2] ** 2 * same


def _spread(known, widths, step):
    """Variances of the offsets across for given images."""
    prior = np.linalg.inv(_prior_across(widths, step))
    return np.diag(np.linalg.inv(np.diag(known) + prior))


def _pull_of_all(images, turns, offsets, spread):
    """Add up what all images say about the offsets."""
    n = len(offsets)
    normal, target, known = np.zeros((2 * n, 2 * n)), np.zeros(2 * n), np.zeros(n)
    for image, turn in zip(images, turns, strict=True):
        pull = image.pull(offsets @ turn.T, spread)
        turned = np.kron(turn, np.eye(n))
        normal += turned.T @ pull.normal @ turned
        target += turned.T @ pull.target
        known += pull.known
    return normal, target, known


def _follow(images, turns, change):
    """Let the images follow a change of the offsets."""
    n = change.size // 2
    for image, turn in zip(images, turns, strict=True):
        image.follow(np.kron(turn, np.eye(n)) @ change)
