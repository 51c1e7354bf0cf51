"""Colours, letters and numbers of the pictures."""

import threading
from contextlib import contextmanager

import numpy as np

__all__ = [
    "BLUE",
    "DPI",
    "INK",
    "MAPS",
    "MASKED",
    "VERMILION",
    "drawing",
    "halo",
    "heading",
    "line_name",
    "measured",
    "power",
    "round_length",
    "round_values",
    "save_whole",
    "superscript",
]

INK = "0.15"
"""Colour of letters and axes."""

MASKED = "0.72"
"""Colour of spaxels that have data, but no trustworthy value."""

BLUE, VERMILION = "#0072b2", "#d55e00"
"""Colours that colour-blind readers can tell apart (Okabe & Ito 2008)."""

MAPS = {
    "white": "cividis",
    "line": "viridis",
    "velocity": "RdBu_r",
    "dispersion": "plasma",
    "time": "cividis",
    "step": "viridis",
    "cut": "viridis",
}
"""Colour maps of the panels: all of them keep their order for colour-blind readers."""

DPI = 100
"""Pixels in an inch: one point is 1.4 pixels."""

SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "axes.titley": 1.0,
    "lines.linewidth": 1.0,
    "legend.fontsize": 8.5,
    "axes.formatter.useoffset": False,
}

_LOCK = threading.RLock()
"""matplotlib's settings are one for all threads."""


@contextmanager
def drawing():
    """Draw with the settings of this package, whatever those of the user are."""
    import matplotlib as mpl

    with _LOCK, mpl.rc_context():
        mpl.rcParams.update({
            key: value for key, value in mpl.rcParamsDefault.items() if key not in _KEPT
        })  # fmt: skip
        mpl.rcParams.update(SETTINGS)
        yield


_KEPT = {"backend", "backend_fallback", "interactive", "toolbar", "timezone"}
"""Settings that are about windows, not about pictures."""


def halo(width=2.2, color="white"):
    """Give the effect that makes letters and lines readable on any colour."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground=color)]


def line_name(name):
    """Write the name of a line with Greek letters and a space: Hα, [OIII] 5007."""
    letters = {"alpha": "\u03b1", "beta": "\u03b2", "gamma": "\u03b3", "delta": "\u03b4"}
    for latin, greek in letters.items():
        name = name.replace(latin, greek)
    return name.replace("]", "] ").replace(" um", " µm").strip()


def superscript(number):
    """Write an integer as an exponent."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def power(value):
    """Give the power of ten of a number; 0 for zero and for what is not finite."""
    return int(np.floor(np.log10(abs(value)))) if np.isfinite(value) and value else 0


def measured(value, error):
    """Write a number with its error and a common power of ten, as in (1.23 ± 0.04)×10⁻¹⁷."""
    if not np.isfinite(value):
        return "unknown"
    exponent = power(max(abs(value), error if np.isfinite(error) else 0))
    digits = 2 if not (np.isfinite(error) and error > 0) else exponent - power(error) + 1
    digits = int(np.clip(digits, 1, 4))
    scaled, scaled_error = value / 10.0**exponent, error / 10.0**exponent
    text = f"{scaled:.{digits}f}"
    if np.isfinite(error):
        text = f"({text} ± {scaled_error:.{digits}f})"
    return f"{text}\u00d710{superscript(exponent)}" if exponent else text


def heading(ra, dec):
    """Write a position in degrees to a milliarcsecond or so."""
    return f"RA {ra:.6f}°, Dec {dec:+.6f}°"


def round_length(length):
    """Give the largest of 1, 2, 5 times a power of ten that is not longer."""
    if not (np.isfinite(length) and length > 0):
        return 1.0
    unit = 10.0 ** power(length)
    return float(unit * max(n for n in (1, 2, 5) if n * unit <= length * (1 + 1e-9)))


def round_values(place, low, high, apart):
    """Choose round numbers, none too close to another, for a scale that is not linear.

    Parameters
    ----------
    place : callable
        Gives the place of a number on the scale, 0 to 1.
    low, high : float
        Ends of the scale.
    apart : float
        Least distance of two places.

    Returns
    -------
    list of float
        Zero, powers of ten and 2 or 5 times these; equally spaced ones where these are too few.
    """
    from matplotlib.ticker import MaxNLocator

    top = power(max(abs(low), abs(high)))
    sizes = np.outer(10.0 ** np.arange(top, top - 5, -1), [5, 2, 1]).ravel()
    decades = 10.0 ** np.arange(top, top - 5, -1)
    chosen = []
    for value in [0.0, *decades, *sizes, *-decades, *-sizes]:
        if low <= value <= high and all(abs(place(value) - place(c)) > apart for c in chosen):
            chosen.append(float(value))
    if len(chosen) < 3:
        values = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
        return [float(value) for value in values if low <= value <= high]
    return chosen


def save_whole(figure, path):
    """Write a figure as PNG, whole or not at all."""
    from PIL import Image

    from msa3d_steps.whole import replace_whole

    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    with replace_whole(path) as temporary:
        image.save(temporary, format="PNG", compress_level=6, dpi=(DPI, DPI))
