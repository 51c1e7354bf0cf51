"""Which emission lines a cube shows.

The filter of `detect` gives the S/N of a line at each channel. With a redshift, that redshift
within `REFINED` counts at which the listed lines have the largest sum of squares of S/N. Without
one, the strongest line of the cube is taken for each of the lines that can be the strongest in
turn; if at one of these redshifts others are where they should be, as strong as they must be, and
there is no second redshift that explains as much, the lines have names; else it stays a line at a
wavelength.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from msa3d_steps.quicklook.detect import WIDTHS, is_line, matched, spectra, spectra_of
from msa3d_steps.quicklook.linelist import LINES, line_named
from msa3d_steps.quicklook.noise import channel_correlation
from msa3d_steps.quicklook.spectrum import integrate
from msa3d_steps.quicklook.windows import SPEED_OF_LIGHT, located

__all__ = ["LineChoice", "as_wavelength", "check_names", "find_lines"]

log = logging.getLogger(__name__)

REFINED = 1500.0
"""km/s by which a given redshift may be off."""

BLIND = 6.5
"""S/N of a line that is found without a redshift, at least."""

SEEN = 5.0
"""S/N of a line whose place is known, at least."""

TRIES = 12
"""Places where a line is looked for blindly, by S/N."""

SURE = 2.0
"""What the best redshift must explain more than the second."""

SECONDARY = 0.3
"""What lines count that cannot be the strongest, when a redshift is refined."""

CAP = 50.0
"""S/N above which a line does not prove more."""

TOLERANCE = 100.0
"""km/s by which lines of one redshift may differ; a channel, at least."""

EDGE = 8
"""Channels that a cube must have on either side of a line."""

BLEND = 2
"""Channels between lines that are not told apart, at most."""

OUT = 5
"""Channels on either side of what proves to be no line that are passed over."""

NEAREST = -0.003
"""Lowest redshift."""

LEADING = (
    "Lya", "CIV1549", "CIII]1908", "MgII2799", "[OII]3727", "Hbeta", "[OIII]5007", "Halpha",
    "[SIII]9531", "HeI10830", "Pabeta", "Paalpha", "Brgamma", "Bralpha",
)  # fmt: skip
"""Lines that can be the strongest of a spectrum."""

PAIRS = (
    ("[OIII]5007", "[OIII]4959", 1 / 2.98),
    ("[SIII]9531", "[SIII]9069", 1 / 2.47),
    ("Hbeta", "Halpha", 2.86),
    ("Pabeta", "Paalpha", 2.1),
    ("Brgamma", "Pabeta", 5.9),
    ("Brgamma", "Paalpha", 12.2),
)
"""Lines that must be there where others are, and their least flux relative to these: by transition
probabilities (Storey & Zeippen 2000, MNRAS 312, 813; Mendoza & Zeippen 1982, MNRAS 199, 1025) and
for hydrogen case B at 10^4 K (Osterbrock & Ferland 2006, tables 4.2 and 4.4), which dust only
raises."""


@dataclass(frozen=True)
class LineChoice:
    """An emission line of a source.

    Attributes
    ----------
    name : str
        As in ``"[OIII]5007"``; ``"line at 1.2345 um"`` where it is unknown.
    rest : float or None
        Vacuum wavelength at rest, um.
    wavelength : float
        Where it is in the cube, um.
    redshift : float or None
        That of the source.
    """

    name: str
    rest: float | None
    wavelength: float
    redshift: float | None = None


def find_lines(view, redshift=None, names=()):
    """Find the emission lines of a cube.

    Parameters
    ----------
    view : CubeView
        The cube.
    redshift : float, optional
        Of the source; it is refined by up to `REFINED` where lines are seen. Where none is, and
        no names are given, lines are looked for as if it were not known.
    names : sequence of str or float
        The lines that are wanted: names as in `linelist.LINES`, and observed wavelengths (um). They
        are given whether or not they are seen, so long as the cube reaches there.

    Returns
    -------
    tuple of LineChoice
        The strongest first; empty where none is found. Velocities are relative to the redshift of
        the line as a whole, those of lines at a given wavelength to that.

    Raises
    ------
    InputError
        Where a name is not in the list.
    """
    given = [_unknown(w) for w in map(as_wavelength, names) if w is not None]
    named = [line_named(n) for n in names if as_wavelength(n) is None]
    if given and not named:
        return tuple(choice for choice in given if _reaches(view, choice.wavelength))
    found = spectra_of(view)
    if not len(found.values):
        return ()
    start = profile = None
    if redshift is not None:
        redshift, profile = _refined(view, found, redshift, named)
    if redshift is None:
        start = _strongest(view, found)
        if start is not None:
            profile, _ = _profile(view, start)
            redshift = _identified(profile, start, named)
    choices = [_unknown(c.wavelength) for c in given if _reaches(view, c.wavelength)]
    if redshift is None:
        return (*choices, start) if start else tuple(choices)
    return tuple(choices) + _listed(view, profile, redshift, named)


def check_names(names):
    """Make sure that all lines that are wanted are known.

    Parameters
    ----------
    names : sequence of str or float
        As for `find_lines`.

    Raises
    ------
    InputError
        Where a name is not in the list.
    """
    for name in names:
        if as_wavelength(name) is None:
            line_named(name)


def as_wavelength(name):
    """Read a wavelength.

    Parameters
    ----------
    name : str or float
        As users name lines.

    Returns
    -------
    float or None
        um; None if it is a name.
    """
    try:
        number = float(name)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _unknown(wavelength):
    """Choose a line that has no name."""
    return LineChoice(f"line at {wavelength:.4f} um", None, wavelength)


def _chosen(line, redshift):
    """Choose a line of the list."""
    return LineChoice(line.name, line.rest, line.rest * (1 + redshift), redshift)


def _reaches(view, wavelength):
    """Tell whether a cube has data at a wavelength and reaches to both sides of it."""
    lam = view.wavelengths
    if not (lam.size > 2 * EDGE and lam[EDGE] < wavelength < lam[-1 - EDGE]):
        return False
    return bool(np.isfinite(view.data[np.argmin(np.abs(lam - wavelength))]).any())  # no gap


@dataclass(frozen=True)
class _Profile:
    """S/N of a line at each channel, shape ``(n_wave,)``."""

    wavelengths: np.ndarray
    snr: np.ndarray

    def at(self, wavelength):
        """Give the channel with the highest S/N near a wavelength and that S/N."""
        near = np.abs(self.wavelengths / wavelength - 1) * SPEED_OF_LIGHT <= TOLERANCE
        middle = int(np.argmin(np.abs(self.wavelengths - wavelength)))
        near[max(middle - 1, 0) : middle + 2] = True
        channel = int(np.argmax(np.where(near, self.snr, -np.inf)))
        return channel, float(self.snr[channel])

    def peak(self, wavelength):
        """Give the same, with an S/N of 0 where it is but the wing of another line."""
        channel, snr = self.at(wavelength)
        around = self.snr[max(channel - 1, 0) : channel + 2]
        return channel, snr if snr >= around.max() else 0.0

    def explained(self, redshift, lines):
        """Sum the squares of the S/N of strong lines at a redshift; 0 where no leading one is."""
        leading = others = 0.0
        for line in lines:
            _, snr = self.at(line.rest * (1 + redshift)) if line.strong else (0, 0.0)
            if snr >= SEEN and line.name in LEADING:
                leading += snr**2
            elif snr >= SEEN:
                others += snr**2
        return leading + SECONDARY * others if leading else 0.0


def _listed(view, profile, redshift, named):
    """Choose lines of the list at a redshift: those that are wanted, else those that are seen.

    Lines that are closer than `BLEND` channels are one, with the names of all.
    """
    lines = [line for line in named or LINES if _reaches(view, line.rest * (1 + redshift))]
    found = {line: profile.peak(line.rest * (1 + redshift)) for line in lines}
    wanted = [line for line in lines if named or found[line][1] >= SEEN]
    channel = view.wavelengths.searchsorted
    chosen = []
    for line in sorted(wanted, key=lambda line: (line.name not in LEADING, -found[line][1])):
        here = channel(line.rest * (1 + redshift))
        for blend in chosen:
            if abs(channel(blend[0].rest * (1 + redshift)) - here) <= BLEND:
                blend.extend([line] if line.strong else [])
                break
        else:
            chosen.append([line])
    chosen.sort(key=lambda blend: -found[blend[0]][1])
    return tuple(
        replace(
            _chosen(first, redshift),
            name="+".join([first.name, *(line.name for line in sorted(rest, key=LINES.index))]),
        )
        for first, *rest in chosen
    )


def _profile(view, choice):
    """Give the S/N of lines in the aperture of one of them, and the velocity of that one."""
    _, _, windows, _ = located(view, choice)
    whole = integrate(view, windows.aperture)
    known = np.isfinite(whole.flux)[None]
    values, err = np.nan_to_num(whole.flux)[None], np.nan_to_num(whole.err, nan=1.0)[None]
    one = spectra(values, err, known, channel_correlation(view.correlation))
    snr = [matched(one, width)[0] for width in WIDTHS]
    here = slice(*np.searchsorted(view.wavelengths, windows.limits(choice.wavelength)))
    best = max(snr, key=lambda values: values[here].max(initial=0))  # the width of this line
    return _Profile(view.wavelengths, best), float(windows.centre.flat[0])


def _refined(view, found, redshift, named):
    """Find the redshift near a given one, and the S/N of lines there.

    Where no line is seen that can be the strongest of a spectrum it is the given redshift, if lines
    are asked for by their names, else None.
    """
    profile = _Profile(view.wavelengths, _peaks(found).max(axis=0))
    lines = [line for line in LINES if _reaches(view, line.rest * (1 + redshift))]
    step = SPEED_OF_LIGHT * float(np.median(view.bandpass / view.wavelengths)) / 2
    number = int(REFINED // step)
    shifts = np.arange(-number, number + 1)
    trials = redshift + (1 + redshift) * shifts * step / SPEED_OF_LIGHT
    explained = np.array([profile.explained(z, lines) for z in trials])
    if not explained.any():
        log.info("%s: no line is seen at redshift %s", view.title, redshift)
        return redshift if named else None, profile
    best = np.flatnonzero(explained >= 0.98 * explained.max())
    redshift = float(trials[best[np.argmin(np.abs(shifts[best]))]])
    strongest = max(lines, key=lambda line: profile.at(line.rest * (1 + redshift))[1])
    profile, velocity = _profile(view, _chosen(strongest, redshift))
    return redshift + (1 + redshift) * velocity / SPEED_OF_LIGHT, profile


def _peaks(found):
    """Give the highest S/N of all widths, shape ``(n, n_wave)``."""
    snr = matched(found, WIDTHS[0])
    for width in WIDTHS[1:]:
        np.maximum(snr, matched(found, width), out=snr)
    return snr


def _strongest(view, found):
    """Find the strongest emission line of a cube; None where there is none."""
    snr = np.stack([matched(found, width) for width in WIDTHS])
    for _ in range(TRIES):
        width, i, k = (int(n) for n in np.unravel_index(np.argmax(snr), snr.shape))
        if snr[width, i, k] < BLIND:
            return None
        if is_line(found, (i, k), WIDTHS[width], snr[width, i]):
            break
        snr[:, :, max(k - OUT, 0) : k + OUT + 1] = 0
    else:
        return None
    choice = _unknown(float(view.wavelengths[k]))
    _, velocity = _profile(view, choice)
    return _unknown(choice.wavelength * (1 + velocity / SPEED_OF_LIGHT))


def _identified(profile, start, named):
    """Find the redshift at which the strongest line has a name; None where it is not certain.

    What the lines themselves say goes first; only where they do not tell, the strongest line is
    taken for one of those that are wanted.
    """
    leading = [line for line in LINES if line.name in LEADING]
    redshift = _most_explained(profile, start, leading)
    return redshift if redshift is not None or not named else _most_explained(profile, start, named)


def _most_explained(profile, start, lines):
    """Find the redshift that explains most if the strongest line is one of a few."""
    _, snr = profile.at(start.wavelength)
    explained = {}
    for line in lines:
        redshift = start.wavelength / line.rest - 1
        if redshift > NEAREST and _can_be(profile, line, snr, redshift):
            explained[redshift] = _companions(profile, line, start.wavelength, redshift)
    if len(lines) == 1 and explained:
        return next(iter(explained))
    order = sorted(explained, key=explained.get, reverse=True)
    if not order or explained[order[0]] < SEEN**2:
        return None
    if len(order) > 1 and explained[order[0]] < SURE * explained[order[1]]:
        return None
    return order[0]


def _can_be(profile, line, snr, redshift):
    """Tell whether the lines are there that must be where this one is."""
    for name, other, ratio in PAIRS:
        if line.name == name and snr * ratio > 2 * SEEN:
            wavelength = line_named(other).rest * (1 + redshift)
            if EDGE < np.searchsorted(profile.wavelengths, wavelength) < profile.snr.size - EDGE:
                channel, found = profile.at(wavelength)
                if profile.snr[channel] != 0 and found < snr * ratio / 2:
                    return False
    return True


def _companions(profile, line, wavelength, redshift):
    """Sum the squares of the S/N of the other lines that are seen, apart from this one."""
    here = int(np.argmin(np.abs(profile.wavelengths - wavelength)))
    total = 0.0
    for other in LINES:
        if not other.strong or other.name == line.name:
            continue
        channel, snr = profile.peak(other.rest * (1 + redshift))
        if snr >= SEEN and abs(channel - here) > BLEND:
            total += min(snr, CAP) ** 2
    return total
