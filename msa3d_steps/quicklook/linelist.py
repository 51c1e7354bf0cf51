"""Strong emission lines of galaxies, from Lyman alpha to the near infrared.

Vacuum wavelengths at rest, from the NIST Atomic Spectra Database (Kramida et al., version 5).
Doublets that are closer than 1000 km/s in the ultraviolet, and [OII]3727, are one line, at the
mean of the two.
"""

import re
from dataclasses import dataclass

from msa3d_steps.errors import InputError

__all__ = ["LINES", "EmissionLine", "line_named", "rest_wavelengths"]


@dataclass(frozen=True)
class EmissionLine:
    """An emission line.

    Attributes
    ----------
    name : str
        Its name, with the wavelength in air, as usual, above 0.2 um.
    rest : float
        Vacuum wavelength, um.
    strong : bool
        Whether it can be the strongest of a galaxy in its part of the spectrum, or prove which
        that is.
    """

    name: str
    rest: float
    strong: bool = False


LINES = tuple(
    EmissionLine(name, round(angstrom * 1e-4, 8), strong)
    for name, angstrom, strong in (
        ("Lya", 1215.670, True),
        ("NV1240", 1240.81, False),
        ("CIV1549", 1549.48, True),
        ("HeII1640", 1640.42, False),
        ("OIII]1666", 1666.150, False),
        ("CIII]1908", 1907.71, True),
        ("MgII2799", 2799.94, True),
        ("[NeV]3426", 3426.85, False),
        ("[OII]3727", 3728.48, True),
        ("[NeIII]3869", 3869.86, True),
        ("[NeIII]3967", 3968.59, False),
        ("Hepsilon", 3971.198, False),
        ("Hdelta", 4102.892, False),
        ("Hgamma", 4341.684, True),
        ("[OIII]4363", 4364.436, False),
        ("HeII4686", 4687.02, False),
        ("Hbeta", 4862.683, True),
        ("[OIII]4959", 4960.295, True),
        ("[OIII]5007", 5008.240, True),
        ("HeI5876", 5877.249, True),
        ("[OI]6300", 6302.046, True),
        ("[OI]6364", 6365.536, False),
        ("[NII]6548", 6549.850, True),
        ("Halpha", 6564.610, True),
        ("[NII]6583", 6585.280, True),
        ("HeI6678", 6679.995, False),
        ("[SII]6716", 6718.290, True),
        ("[SII]6731", 6732.670, True),
        ("HeI7065", 7067.14, False),
        ("[ArIII]7136", 7137.77, True),
        ("[OII]7325", 7327.3, False),
        ("[ArIII]7751", 7753.19, False),
        ("[SIII]9069", 9071.1, True),
        ("[SIII]9531", 9533.2, True),
        ("Padelta", 10052.12, False),
        ("HeI10830", 10833.2, True),
        ("Pagamma", 10941.08, True),
        ("[FeII]12570", 12570.2, True),
        ("Pabeta", 12821.58, True),
        ("[FeII]16440", 16440.0, True),
        ("Paalpha", 18756.1, True),
        ("Brdelta", 19450.9, False),
        ("H2 1-0 S(3)", 19575.6, False),
        ("HeI20587", 20586.9, False),
        ("H2 1-0 S(1)", 21218.3, True),
        ("Brgamma", 21661.2, True),
        ("Brbeta", 26258.7, True),
        ("Bralpha", 40522.6, True),
    )
)
"""By wavelength."""

_GREEK = {
    "alpha": "a", "beta": "b", "gamma": "g", "delta": "d", "epsilon": "e",
    "\N{GREEK SMALL LETTER ALPHA}": "a", "\N{GREEK SMALL LETTER BETA}": "b",
    "\N{GREEK SMALL LETTER GAMMA}": "g", "\N{GREEK SMALL LETTER DELTA}": "d",
    "\N{GREEK SMALL LETTER EPSILON}": "e",
}  # fmt: skip


def line_named(name):
    """Find a line by its name.

    Parameters
    ----------
    name : str
        As in the list; brackets, spaces, hyphens and case do not matter, and Greek letters may be
        written ``alpha``, ``a`` or as themselves.

    Returns
    -------
    EmissionLine
        The line.

    Raises
    ------
    InputError
        Where there is none of this name.
    """
    wanted = _key(name)
    for line in LINES:
        if _key(line.name) == wanted:
            return line
    known = ", ".join(line.name for line in LINES)
    raise InputError(
        f"there is no line {name!r} in the list; give its observed wavelength in um or one of "
        f"{known}"
    )


def rest_wavelengths():
    """Give the rest wavelengths of all lines, um."""
    return [line.rest for line in LINES]


def _key(name):
    """Reduce a name to what counts."""
    key = name.lower()
    for long, short in _GREEK.items():
        key = key.replace(long, short)
    return re.sub(r"[^a-z0-9]", "", key)
