"""From sources to the offsets of their exposures, and what is done with them.

The offset of an exposure is one for all its slitlets and detectors: the telescope pointed there.
All sources that are given are measured together.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from msa3d_steps.cube.pattern import find_pattern
from msa3d_steps.cube.registration.image import align, read_image
from msa3d_steps.cube.registration.offsets import Move, moved_source, read_offsets
from msa3d_steps.cube.registration.overlap_fit import fit_offsets
from msa3d_steps.cube.registration.profiles import Frame, collapse, frame_of
from msa3d_steps.cube.registration.scene import BandImage
from msa3d_steps.errors import InputError
from msa3d_steps.words import counted

__all__ = ["RegisterOptions", "register"]

log = logging.getLogger(__name__)

LARGEST_ERROR = 0.020, 0.015
"""Offsets across and along with a larger standard deviation, arcsec, are not applied: half of what
pointings are usually off."""

LARGEST_STEP_ERROR, FEWEST_STEPS = 0.015, 5
"""Error of what the exposures of a step have in common across the slits, arcsec, and number of
steps in which it must be smaller: with fewer an image that is too narrow explains as much."""

LARGEST_SHIFT_ERROR = 0.015
"""The same of the shift against an image."""

LARGEST_OFFSET = 0.15
"""Offsets beyond this, arcsec, are not believed."""

FEWEST = 3
"""Fewest exposures of one direction of the slits that can be compared."""

MOST_SOURCES = 8
"""Sources that offsets are measured on: those with the best signal to noise."""

LEAST_SIGNAL = 5.0
"""Least signal to noise of a source in its best exposure."""

MOST_SHOWN = 5


@dataclass(frozen=True)
class RegisterOptions:
    """How exposures are brought into register.

    Parameters
    ----------
    offset_file : str, optional
        Offsets that are known.
    method : {'none', 'self', 'image'}
        Whether they are measured, and against what.
    image : str, optional
        FITS image with a WCS, for ``image``.
    """

    offset_file: str | None = None
    method: str = "none"
    image: str | None = None

    @property
    def changes(self):
        """Whether anything may be moved."""
        return self.offset_file is not None or self.method != "none"

    def is_sound(self):
        """Give the options, or raise an `InputError` where they contradict each other."""
        if self.method == "image" and self.image is None:
            raise InputError("register=image needs an image: give its path with image=")
        if self.method != "image" and self.image is not None:
            raise InputError(
                f"an image is given, but register is {self.method}; use register=image"
            )
        return self


def register(sources, options):
    """Bring the exposures of sources into register.

    Parameters
    ----------
    sources : list of ~msa3d_steps.cube.sources.Source
        The sources; not changed.
    options : RegisterOptions
        How.

    Returns
    -------
    list of ~msa3d_steps.cube.sources.Source
        The same with moved cutouts and the moves made.

    Raises
    ------
    InputError
        Where the offset file or the image cannot be used.
    """
    if options.offset_file is not None:
        offsets = read_offsets(options.offset_file)
        sources = [offsets.applied(source) for source in sources]
    if options.method != "none" and sources:
        sources = _measured(sources, options)
    return [replace(source, registered=_told(source, options)) for source in sources]


def _told(source, options):
    """Give what the metadata of a cube tell."""
    told = {
        "register": options.method,
        "n_moved": sum(bool(move.east or move.north) for move in source.moves),
    }
    if options.offset_file is not None:
        told["offset_file"] = Path(options.offset_file).name
    if options.image is not None:
        told["register_image"] = Path(options.image).name
    return told


def _measured(sources, options):
    """Measure offsets and move the cutouts."""
    image = read_image(options.image) if options.method == "image" else None
    table = _Exposures(sources)
    found = {}
    for group in range(table.n_groups):
        for name, move in _register_group(sources, table, group, image).items():
            found[name] = move
    nothing = Move()
    return [
        moved_source(source, [found.get(c.exposure, nothing) for c in source.cutouts])
        for source in sources
    ]


class _Exposures:
    """Which direction and step each exposure has: what the source that has it first says."""

    def __init__(self, sources):
        self.place = {}
        for source in sorted(sources, key=lambda s: -len(s.cutouts)):
            pattern = find_pattern(source.cutouts)
            for cutout, turned, step in zip(
                source.cutouts, pattern.turned.tolist(), pattern.step.tolist(), strict=True
            ):
                self.place.setdefault(cutout.exposure, (turned, (cutout.visit, step)))
        self.n_groups = 1 + max(group for group, _ in self.place.values())

    def of(self, group):
        """Names of the exposures of a group and the number of the step of each."""
        names = sorted(name for name, (own, _) in self.place.items() if own == group)
        steps = [self.place[name][1] for name in names]
        labels = sorted(set(steps))
        return names, np.array([labels.index(step) for step in steps])


@dataclass(frozen=True)
class _Seen:
    """A source, collapsed."""

    label: str
    frame: Frame
    profiles: list
    waves: list
    signal: float


def _register_group(sources, table, group, image):
    """Measure the offsets of the exposures whose slits have one direction."""
    names, step = table.of(group)
    seen = _collapsed(sources, names)
    if not seen:
        log.warning(
            "%s not registered: no source is bright enough (signal to noise %g in an exposure)",
            counted(len(names), "exposure"), LEAST_SIGNAL,
        )  # fmt: skip
        return {}
    axes = seen[0].frame.axes
    result = _Result(names, axes)
    if len(names) < FEWEST:
        log.warning("%s: too few to be compared with each other", counted(len(names), "exposure"))
    else:
        _measure_overlap(seen, step, result)
    if image is not None:
        _measure_shift(seen, image, result)
    return result.moves()


class _Result:
    """Offsets of the exposures of a group, in the axes of the first source."""

    def __init__(self, names, axes):
        self.names, self.axes = names, axes
        self.offsets = np.zeros((len(names), 2))
        self.errors = np.full((len(names), 2), np.nan)
        self.kind = ""

    def add_kind(self, kind):
        self.kind = f"{self.kind}+{kind}" if self.kind else kind

    def moves(self):
        """Give the moves by exposure."""
        return {
            name: Move(*map(float, offset @ self.axes), *map(float, error), self.kind)
            for name, offset, error in zip(self.names, self.offsets, self.errors, strict=True)
        }


def _collapsed(sources, names):
    """Collapse the sources, and keep those that are bright."""
    number = {name: i for i, name in enumerate(names)}
    seen = []
    for source in sources:
        own = [c for c in source.cutouts if c.exposure in number and c.used]
        if not own:
            continue
        frame = frame_of(own)
        profiles, waves = collapse(own, [number[c.exposure] for c in own], frame, _n_bands(own))
        if not waves:
            continue
        signal = max(_signal(p) for p in profiles)
        if signal > LEAST_SIGNAL:
            seen.append(_Seen(source.title, frame, profiles, waves, signal))
    return sorted(seen, key=lambda s: -s.signal)[:MOST_SOURCES]


def _signal(profile):
    """Signal to noise of the source in a profile, above what the faintest fifth has."""
    sky = np.quantile(profile.value, 0.2)
    return float(np.sqrt(np.sum(np.clip(profile.value - sky, 0, None) ** 2 / profile.variance)))


def _n_bands(cutouts):
    """Bands for images of their own: one for each factor of about 2 in wavelength."""
    ends = [c.footprint.wavelength(c.footprint.middles[0][[0, -1]], np.zeros(1)) for c in cutouts]
    return 1 + round(float(np.log2(np.max(ends) / np.min(ends))))


def _measure_overlap(seen, step, result):
    """Measure the offsets of exposures relative to each other, and keep those that are known."""
    n = len(result.names)
    images, turns = [], []
    for source in seen:
        for band, wave in enumerate(source.waves):
            image = BandImage(source.profiles, band, wave, n)
            images.append(image)
            turns.append(source.frame.axes @ result.axes.T)
    try:
        fitted = fit_offsets(images, turns, step, _places(seen, n, result.axes))
    except np.linalg.LinAlgError:
        fitted = None
    if fitted is None or not fitted.settled.any():
        log.warning("%s not registered: the fit of their overlap does not converge",
                    counted(n, "exposure"))  # fmt: skip
        return
    for k, direction in enumerate(("across", "along")):
        own = slice(k * n, (k + 1) * n)
        offsets, covariance = _without_mean(fitted.offsets[:, k], fitted.covariance[own, own])
        shared = np.zeros(n)
        if k == 0 and not _shows_steps(covariance, step):
            log.warning(
                "What the exposures of a step have in common across the slits is not corrected: it "
                "can be measured in less than %d steps", FEWEST_STEPS,
            )  # fmt: skip
            offsets, covariance, shared = _without_steps(offsets, covariance, step, fitted.widths)
        errors = np.sqrt(np.clip(np.diag(covariance), 0, None))
        unknown = errors > LARGEST_ERROR[k]
        unsettled = ~unknown & ~fitted.settled[:, k]
        far = ~(unknown | unsettled) & (np.abs(offsets) > LARGEST_OFFSET)
        _warn(result.names, unknown, direction, f"the error is above {LARGEST_ERROR[k]}''")
        _warn(result.names, unsettled, direction, "the fit does not settle")
        _warn(result.names, far, direction, f"the offset is beyond {LARGEST_OFFSET}''")
        good = ~(unknown | unsettled | far)
        result.offsets[:, k], result.errors[:, k] = (
            np.where(good, offsets, 0),
            np.hypot(errors, shared),
        )
        if good.any():
            log.info(
                "%d of %d exposures moved %s the slits: rms %.0f mas, error %.0f mas",
                good.sum(), n, direction, 1e3 * np.sqrt(np.mean(offsets[good] ** 2)),
                1e3 * np.median(errors[good]),
            )  # fmt: skip
    signals = np.sqrt(sum(image.signal_to_noise() for image in images))
    log.info(
        "Registered on %s (%s); signal to noise of an exposure %.0f (median)",
        counted(len(seen), "source"), ", ".join(s.label for s in seen), np.median(signals),
    )  # fmt: skip
    result.add_kind("self")


def _places(seen, n, axes):
    """Give where exposures are said to have been across the slits, arcsec, from their mean."""
    total, count = np.zeros(n), np.zeros(n)
    for source in seen:
        own = {p.exposure: p.across for p in source.profiles}
        numbers = list(own)
        places = np.array(list(own.values())) - np.mean(list(own.values()))
        total[numbers] += (source.frame.axes @ axes.T)[0, 0] * places  # slits may be upside down
        count[numbers] += 1
    return total / np.maximum(count, 1)


def _without_mean(offsets, covariance):
    """Take off the mean, weighted by inverse variance: a common offset cannot be measured.

    Returns
    -------
    offsets, covariance : numpy.ndarray
        Shape ``(n,)`` and ``(n, n)``: without it.
    """
    weights = 1 / np.diag(covariance)
    weights = weights / weights.sum()
    project = np.eye(offsets.size) - weights
    return project @ offsets, project @ covariance @ project.T


def _shows_steps(covariance, step):
    """Whether what the exposures of a step have in common is known in enough steps."""
    mean = (step == np.arange(step.max() + 1)[:, None]).astype(float)
    mean /= mean.sum(axis=1, keepdims=True)
    errors = np.sqrt(np.clip(np.diag(mean @ covariance @ mean.T), 0, None))
    return np.sum(errors < LARGEST_STEP_ERROR) >= FEWEST_STEPS


def _without_steps(offsets, covariance, step, widths):
    """Take off what the exposures of each step have in common, and give how large it is likely."""
    same = step[:, None] == step
    weights = same / np.diag(covariance)
    project = np.eye(offsets.size) - weights / weights.sum(axis=1, keepdims=True)
    number = same.sum(axis=1)
    shared = np.sqrt(widths[2] ** 2 + widths[1] ** 2 / number)
    return project @ offsets, project @ covariance @ project.T, shared


def _warn(names, chosen, direction, reason):
    """Name the exposures that stay where they are."""
    if chosen.any():
        own = [name for name, c in zip(names, chosen, strict=True) if c]
        more = f" and {len(own) - MOST_SHOWN} more" if len(own) > MOST_SHOWN else ""
        log.warning(
            "%s of %d not moved %s the slits, since %s: %s%s",
            counted(len(own), "exposure"), len(names), direction, reason,
            ", ".join(own[:MOST_SHOWN]), more,
        )  # fmt: skip


def _measure_shift(seen, image, result):
    """Measure the shift of all exposures against an image, on all sources that it shows."""
    shifts, inverses = [], []
    for source in seen:
        turn = source.frame.axes @ result.axes.T
        shift = align(image, source.profiles, result.offsets @ turn.T, source.frame)
        if shift is None:
            log.warning("%s: source %s is not recognised", Path(image.file).name, source.label)
            continue
        shifts.append(turn.T @ [shift.across, shift.along])
        inverses.append(np.linalg.inv(turn.T @ shift.covariance @ turn))
    if not shifts:
        log.warning("Not registered on %s, which shows none of the sources", image.file)
        return
    covariance = np.linalg.inv(sum(inverses))
    mean = covariance @ sum(i @ s for i, s in zip(inverses, shifts, strict=True))
    if len(shifts) > 1:  # what they differ by counts, too
        chi2 = sum((s - mean) @ i @ (s - mean) for i, s in zip(inverses, shifts, strict=True))
        covariance = covariance * max(chi2 / (2 * len(shifts) - 2), 1)
    errors = np.sqrt(np.diag(covariance))
    if errors.max() > LARGEST_SHIFT_ERROR:
        log.warning(
            "Not registered on %s: the error of the shift, %.0f mas, is above %.0f mas",
            image.file, 1e3 * errors.max(), 1e3 * LARGEST_SHIFT_ERROR,
        )  # fmt: skip
        return
    log.info(
        "Registered on %s: all exposures moved by %.1f +- %.1f mas across and %.1f +- %.1f mas "
        "along the slits", Path(image.file).name,
        *np.column_stack([1e3 * mean, 1e3 * errors]).ravel(),
    )  # fmt: skip
    result.offsets += mean
    result.errors = np.hypot(np.nan_to_num(result.errors), errors)
    result.add_kind("image")
