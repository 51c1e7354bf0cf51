"""NIRSpec's dispersers.

The prism is real, from the WCS of a public exposure (see `extract`). The gratings are modelled
after documented figures (JDox, "NIRSpec Dispersers and Filters"): groove densities that give the
documented dispersion per pixel, and tilts that put the documented wavelength range, seen from the
middle of the MSA, in the middle of the two detectors; for the rest they are aligned like the prism.
The real high-resolution gratings have their spectra further to the red end: at the slit S1600A1
the detector gap of G395H is at 3.72-3.83 um (Alderson et al. 2023), here at 4.37-4.47 um, some 1000
pixels apart.
"""

from dataclasses import dataclass

from msa3d_steps.errors import InputError

__all__ = [
    "CONFIGURATIONS",
    "GRATINGS",
    "Configuration",
    "Grating",
    "configuration",
    "disperser",
]


@dataclass(frozen=True)
class Grating:
    """A reflection grating.

    Attributes
    ----------
    groove_density : float
        Grooves per metre.
    tilt : float
        Angle between the grating and the grating wheel's mirror about the grooves, deg.
    """

    groove_density: float
    tilt: float


@dataclass(frozen=True)
class Configuration:
    """A disperser with its filter.

    Attributes
    ----------
    grating, filter : str
        Their names.
    order : int
        Spectral order, 0 for the prism.
    wave_range : tuple of float
        Documented wavelength range, um.
    """

    grating: str
    filter: str
    order: int
    wave_range: tuple[float, float]


GRATINGS = {
    "G140M": Grating(9.520e4, -3.737),
    "G235M": Grating(5.721e4, -3.783),
    "G395M": Grating(3.388e4, -3.775),
    "G140H": Grating(2.591e5, -10.634),
    "G235H": Grating(1.506e5, -10.425),
    "G395H": Grating(8.967e4, -10.557),
}

CONFIGURATIONS = {
    (grating, filter_): Configuration(grating, filter_, order, wave_range)
    for grating, filter_, order, wave_range in (
        ("PRISM", "CLEAR", 0, (0.6, 5.3)),
        ("G140M", "F100LP", -1, (0.97, 1.84)),
        ("G235M", "F170LP", -1, (1.66, 3.07)),
        ("G395M", "F290LP", -1, (2.87, 5.10)),
        ("G140H", "F100LP", -1, (0.97, 1.82)),
        ("G235H", "F170LP", -1, (1.66, 3.05)),
        ("G395H", "F290LP", -1, (2.87, 5.14)),
    )
}


def configuration(grating, filter_):
    """Find a disperser with its filter.

    Parameters
    ----------
    grating, filter_ : str
        Their names, as in ``meta.instrument``.

    Returns
    -------
    Configuration
        What is known about it.

    Raises
    ------
    InputError
        Where it is none of `CONFIGURATIONS`.
    """
    try:
        return CONFIGURATIONS[grating.upper(), filter_.upper()]
    except KeyError:
        known = ", ".join("/".join(pair) for pair in CONFIGURATIONS)
        raise InputError(
            f"{grating}/{filter_} is not simulated; choose a grating and filter of {known}"
        ) from None


def disperser(coefficients, grating):
    """Find what disperses, and its angles.

    Parameters
    ----------
    coefficients : dict
        The coefficients.
    grating : str
        'PRISM' or one of `GRATINGS`.

    Returns
    -------
    dict
        Fields of jwst's `DisperserModel`, without metadata and the tilts that are read from the
        grating wheel's sensors.

    Raises
    ------
    InputError
        Where the coefficients are of another disperser, and it is not modelled.
    """
    record = coefficients["disperser"]
    theta_x, theta_y, theta_z, tilt_y = map(float, record["angles"])
    fields = {"theta_x": theta_x, "theta_y": theta_y, "theta_z": theta_z, "tilt_x": 0.0}
    if grating in GRATINGS:
        modelled = GRATINGS[grating]
        return fields | {"tilt_y": modelled.tilt, "groovedensity": modelled.groove_density}
    if grating != record["grating"]:
        raise InputError(
            f"the coefficients are of {record['grating']} and do not contain {grating}; extract "
            f"them from a cutout of {grating}"
        )
    coefs = {name: [float(c) for c in record[name]] for name in ("kcoef", "lcoef", "tcoef")}
    glass = {"angle": record["prism_angle"], "tref": record["tref"], "pref": record["pref"]}
    return fields | coefs | glass | {"tilt_y": tilt_y, "wbound": [0.5e-6, 6e-6]}
