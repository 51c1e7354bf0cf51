"""What a simulated survey is: its pattern, slitlets, sources and noise."""

import dataclasses
import hashlib
import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.optics.dispersers import CONFIGURATIONS
from msa3d_steps.simulate.scene.psf import PSF_NAMES
from msa3d_steps.simulate.scene.sources import LINE_TABLE, Galaxy, PointSource, galaxy_lines

__all__ = ["GRATINGS", "LEVELS", "Survey", "read_survey"]

GRATINGS = dict(CONFIGURATIONS.keys())  # grating: filter
LEVELS = ("cal", "rate", "both")
JITTER = ("jitter", "unknown_jitter", "unknown_step_jitter")
MAX_SHUTTERS = 7
MAX_SOURCES = 40
SOURCE_LIMITS = {  # what is not infinite, negative or upside down
    "source_id": (1, 1e6),
    "dec": (-89, 89),
    "redshift": (0, 20),
    "h_alpha": (0, 1e6),
    "continuum": (0, 1e6),
    "slope": (-10, 10),
    "across": (-100, 100),
    "along": (-100, 100),
    "scale_length": (1e-3, 10),
    "inclination": (0, 89),
    "turnover": (1e-3, 100),
    "rotation": (-5000, 5000),
    "dispersion": (0, 5000),
    "bulge": (0, 1),
    "bulge_sigma": (0, 10),
    "truncation": (0.1, 20),
}


def _option(default, text, **choices):
    """Make a field that is also a command-line option."""
    return field(default=default, metadata={"help": text, **choices})


@dataclass(frozen=True)
class Survey:
    """A slit-stepping survey; its defaults are GO-2136 in miniature.

    Every attribute but `sources` is an option of the command ``msa3d_simulate`` (with dashes for
    underscores) and a line of a survey file. `sources` are tables ``[[sources]]`` of a survey
    file, dictionaries of the attributes of `Galaxy`, or of `PointSource` where ``kind`` is
    "point", with ``h_alpha`` (1e-20 W/m2) in place of lines, and ``across`` and ``along``, the
    source's place relative to the middle of its slitlet (arcsec); what is not given is drawn
    at random.

    Raises
    ------
    InputError
        If a value makes no sense.
    """

    grating: str = _option("G140H", "disperser; the filter follows", choices=tuple(GRATINGS))
    level: str = _option("cal", "what to write: cal, rate or both", choices=LEVELS)
    n_sources: int = _option(3, "number of galaxies, each in a slitlet of its own")
    steps: int = _option(5, "pointings across the slit")
    dithers: int = _option(3, "pointings along the slit")
    step: float = _option(0.2, "distance of the steps, arcsec")
    dither: float = _option(0.175, "distance of the dithers, arcsec")
    jitter: float = _option(0.0, "pointing error, rms on either axis, arcsec")
    unknown_jitter: float = _option(
        0.0, "the same, of which the headers and the WCS of the exposures know nothing"
    )
    unknown_step_jitter: float = _option(
        0.0, "unknown error across the slit that the exposures of a step share, rms, arcsec"
    )
    shutters: int = _option(5, "open shutters in a slitlet, 1 to 7")
    ra: float = _option(150.1, "right ascension of the field, deg")
    dec: float = _option(2.3, "declination of the field, deg")
    position_angle: float = _option(30.0, "of the slits, deg east of north")
    exposure_time: float = _option(1800.0, "of each exposure, s")
    redshift: float = _option(0.0, "of all galaxies; 0 is one for each that suits the grating")
    zodiacal: float = _option(0.15, "surface brightness of the background at 1.3 um, MJy/sr")
    psf: str = _option("gaussian", "point spread function", choices=PSF_NAMES)
    noise: bool = _option(True, "add noise and defects; without, ERR is as if there were noise")
    cosmic_rays: bool = _option(
        False, "add the cosmic rays that survive the ramp fit; msa3d_cube does not remove them"
    )
    flicker: float = _option(0.0, "1/f noise that is left in an exposure, electrons rms")
    observation: int = _option(
        1, "number of the observation, 1 to 999, for surveys that go together"
    )
    seed: int = _option(1, "of everything that is drawn at random")
    sources: tuple = ()

    def __post_init__(self):
        for option in dataclasses.fields(self):
            if option.name != "sources":
                object.__setattr__(self, option.name, _typed(option, getattr(self, option.name)))
        object.__setattr__(self, "grating", self.grating.upper())
        _check(isinstance(self.sources, list | tuple), "sources are tables: write [[sources]]")
        object.__setattr__(self, "sources", tuple(self.sources))
        if self.sources:
            object.__setattr__(self, "n_sources", len(self.sources))
        for name, choices in (("grating", GRATINGS), ("level", LEVELS), ("psf", PSF_NAMES)):
            value = getattr(self, name)
            _check(value in choices, f"{name} is {value}: give one of {', '.join(choices)}")
        limits = {
            "shutters": MAX_SHUTTERS,
            "observation": 999,
            "n_sources": MAX_SOURCES,
            "steps": 1e4,
            "dithers": 1e4,
        }
        for name, most in limits.items():
            value = getattr(self, name)
            _check(1 <= value <= most, f"{name} is {value}: give 1 to {most:g}")
        _check(self.n_exposures < 1e5, f"{self.n_exposures} exposures: give fewer steps or dithers")
        for name in ("exposure_time", "step", "dither"):
            _check(getattr(self, name) > 0, f"{name} is {getattr(self, name)}: give more than 0")
        for name in ("zodiacal", "flicker", "redshift", "seed", *JITTER):
            _check(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}: give 0 or more")
        _check(abs(self.dec) < 89, f"dec is {self.dec}: give -89 to 89")
        for number, own in enumerate(self.sources, start=1):
            _check_source(number, own)
        ids = [own.get("source_id", number) for number, own in enumerate(self.sources, start=1)]
        _check(len(set(ids)) == len(ids), f"two sources have the same source_id: {ids}")

    @property
    def filter(self):
        """Name of the filter."""
        return GRATINGS[self.grating]

    @property
    def n_exposures(self):
        """Number of exposures."""
        return self.steps * self.dithers

    @property
    def detectors(self):
        """The detectors that see light."""
        return ("NRS1", "NRS2")

    def offsets(self):
        """Lay the pattern out as a snake: steps forth, one dither up, steps back.

        Returns
        -------
        commanded, actual : ndarray
            Offsets of the slits across and along themselves, without and with the pointing
            errors, arcsec, shape ``(n_exposures, 2)``, in the order of the exposures.
        """
        across = np.tile(
            self.step * (np.arange(self.steps) - (self.steps - 1) / 2), (self.dithers, 1)
        )
        across[1::2] = across[1::2, ::-1]
        along = np.repeat(
            self.dither * (np.arange(self.dithers) - (self.dithers - 1) / 2), self.steps
        )
        commanded = np.stack([across.ravel(), along], axis=1)
        errors = np.random.default_rng([self.seed, 1]).standard_normal(commanded.shape)
        return commanded, commanded + self.jitter * errors

    def unknown_offsets(self):
        """Draw the pointing errors that no header tells.

        Returns
        -------
        ndarray
            Across and along the slits, arcsec, shape ``(n_exposures, 2)``, in the order of the
            exposures; they come on top of the actual offsets that the headers tell.
        """
        random = np.random.default_rng([self.seed, 4])
        own = self.unknown_jitter * random.standard_normal((self.n_exposures, 2))
        step = np.tile(np.arange(self.steps), (self.dithers, 1))
        step[1::2] = step[1::2, ::-1]
        own[:, 0] += self.unknown_step_jitter * random.standard_normal(self.steps)[step.ravel()]
        return own

    def make_sources(self, places):
        """Make the galaxies of the slitlets.

        Parameters
        ----------
        places : sequence of tuple
            ``(ra, dec, wave_ranges)`` of each slitlet in the middle of the pattern: deg, and the
            ``(low, high)`` wavelengths that fall on the detectors, um; for each its source is
            made so that its H-alpha (or what is seen of its lines) falls on a detector.

        Returns
        -------
        list of Galaxy or PointSource
            One per slitlet.
        """
        given = self.sources or ({},) * self.n_sources
        return [
            _make_source(number, dict(own), place, self)
            for number, (own, place) in enumerate(zip(given, places, strict=True))
        ]

    def digest(self):
        """Short hash of all that decides what the files contain."""
        content = dataclasses.asdict(self)
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check(condition, message):
    if not condition:
        raise InputError(f"Survey: {message}.")


def _typed(option, value):
    """Give the value of an option in the type of its default; a whole number may be a float."""
    kind = type(option.default)
    name = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
    allowed = (int, float) if kind is float else kind
    good = isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))
    _check(good and (kind is not float or math.isfinite(value)),
           f"{option.name} is {value!r}: give {name}")  # fmt: skip
    return kind(value)


def _check_source(number, own):
    """Check what is given for a source; raises InputError."""
    _check(isinstance(own, dict), "sources are tables: write [[sources]]")
    where = f"source {number}"
    kind = own.get("kind", "galaxy")
    _check(kind in ("galaxy", "point"), f"{where}: kind is {kind!r}: give 'galaxy' or 'point'")
    maker = Galaxy if kind == "galaxy" else PointSource
    known = {f.name for f in dataclasses.fields(maker)} - {"lines"}
    known |= {"kind", "h_alpha", "across", "along"}
    unknown = ", ".join(sorted(set(own) - known))
    _check(not unknown, f"{where} has no {unknown}; a {kind} has {', '.join(sorted(known))}")
    for name in sorted(set(own) - {"kind", "clumps"}):
        value = own[name]
        good = isinstance(value, int | float) and not isinstance(value, bool)
        _check(good and math.isfinite(value), f"{where}: {name} is {value!r}: give a number")
        low, high = SOURCE_LIMITS.get(name, (-math.inf, math.inf))
        _check(low <= value <= high, f"{where}: {name} is {value}: give {low:g} to {high:g}")
    if "source_id" in own:
        _check(isinstance(own["source_id"], int), f"{where}: source_id: give a whole number")
    _check_clumps(where, own.get("clumps", ()))


def _check_clumps(where, clumps):
    """Check the clumps of a galaxy; raises InputError."""
    try:
        values = np.array(clumps, float).reshape(-1, 3)
        shares = values[:, 2]
        good = np.isfinite(values).all() and (shares >= 0).all() and shares.sum() <= 1
        good &= all(len(clump) == 3 for clump in clumps)
    except (ValueError, TypeError):
        good = False
    _check(good, f"{where}: clumps are lists of [east, north, share], shares of at most 1 together")


def _make_source(number, own, place, survey):
    """Make the source of a slitlet from what is given and a random rest."""
    ra, dec, wave_ranges = place
    random = np.random.default_rng([survey.seed, 2, number])
    kind = own.pop("kind", "galaxy")
    across = own.pop("across", random.uniform(-0.05, 0.05))
    along = own.pop("along", random.uniform(-0.1, 0.1))
    east, north = _to_sky(across, along, survey.position_angle)
    ra, dec = ra + east / 3600 / np.cos(np.deg2rad(dec)), dec + north / 3600
    redshift = own.pop("redshift", survey.redshift) or _suitable_redshift(wave_ranges, random)
    values = {
        "source_id": number + 1, "ra": ra, "dec": dec, "redshift": redshift,
        "continuum": random.uniform(4, 10), "slope": random.uniform(0.2, 0.8),
    }  # fmt: skip
    h_alpha = own.pop("h_alpha", random.uniform(25, 50))
    if kind == "galaxy":
        values |= _random_disk(random, survey.steps * survey.step)
        maker = Galaxy
    else:
        values["dispersion"] = 100.0
        maker = PointSource
    if "clumps" in own:
        own["clumps"] = tuple(tuple(clump) for clump in own["clumps"])
    values |= own
    values = {key: float(v) if isinstance(v, np.floating) else v for key, v in values.items()}
    return maker(lines=galaxy_lines(float(h_alpha)), **values)


def _random_disk(random, field):
    """Draw a disk that the field across the slits (arcsec) holds, like those at redshift 1 to 2."""
    scale = min(random.uniform(0.10, 0.14) * field, random.uniform(0.25, 0.38))
    radius, azimuth = random.uniform(0.8, 1.6, 2) * scale, random.uniform(0, 2 * np.pi, 2)
    return {
        "scale_length": scale,
        "inclination": random.uniform(35, 65),
        "position_angle": random.uniform(0, 360),
        "rotation": random.uniform(150, 260),
        "turnover": random.uniform(0.1, 0.2),
        "dispersion": random.uniform(30, 60),
        "bulge": random.uniform(0.0, 0.3),
        "clumps": tuple(
            (float(r * np.sin(a)), float(r * np.cos(a)), 0.05)
            for r, a in zip(radius, azimuth, strict=True)
        ),
    }


def _to_sky(across, along, position_angle):
    """Turn offsets across and along a slit into east and north."""
    angle = np.deg2rad(position_angle)
    return (
        across * np.cos(angle) + along * np.sin(angle),
        -across * np.sin(angle) + along * np.cos(angle),
    )


def _suitable_redshift(wave_ranges, random):
    """Draw a redshift at which most strong lines are seen, H-alpha and [OIII] above all."""
    lam = np.array([wavelength for _, wavelength, _ in LINE_TABLE])
    value = np.array([strength for *_, strength in LINE_TABLE])
    redshifts = random.uniform(0.0, 9.0, 4000)
    margin = 0.01
    observed = lam * (1 + redshifts[:, None])
    seen = np.zeros_like(observed, dtype=bool)
    for low, high in wave_ranges:
        seen |= (observed > low * (1 + margin)) & (observed < high * (1 - margin))
    return float(redshifts[np.argmax(seen @ value)])


def read_survey(path, **options):
    """Read a survey file (TOML).

    Parameters
    ----------
    path : str or Path
        The file: lines ``name = value`` and tables ``[[sources]]``.
    **options
        Values that override those of the file.

    Returns
    -------
    Survey
        The survey.

    Raises
    ------
    InputError
        If the file cannot be read, or has a line that is not known.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise InputError(f"{path}: not a survey file in TOML: {err}.") from err
    known = {f.name for f in dataclasses.fields(Survey)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"{path}: no such line: {', '.join(unknown)}. Known: {sorted(known)}.")
    try:
        return Survey(**(values | options))
    except InputError as err:
        raise InputError(err.problem.message, str(path)) from err
