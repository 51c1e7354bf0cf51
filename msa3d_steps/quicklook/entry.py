"""What the page tells of one cube."""

from dataclasses import asdict, dataclass, fields

__all__ = ["Entry"]


@dataclass(frozen=True)
class Entry:
    """A row of the page; all of it can be written as JSON.

    Attributes
    ----------
    title : str
        The source and, where the page has several cubes of it, the grating.
    name : str
        Name of the source in the catalogue.
    cube, picture, maps : str
        File names, beside the page; empty where there is none (a source without a cube has a row,
        too).
    thumbnail : str
        A small PNG, base64.
    ra, dec : float or None
        Catalogue position (else middle of the cube), degrees.
    field : tuple of float
        Width and height of the cube, arcsec.
    shape : tuple of int
        Channels, rows, columns.
    wavelengths : tuple of float
        First and last, um.
    grating : str
        Filter and disperser.
    line : str
        Name of the strongest line; empty where none was found.
    line_wavelength : float or None
        Where it was found, um.
    line_snr, continuum_snr : float or None
        Signal over noise of the line's flux and of the continuum (per channel, median) in the
        aperture of the spectrum.
    redshift : float or None
        Where it is known or given.
    exposures_used, exposures_rejected : int
        Number of cutouts; how many were rejected is None where a cube does not tell.
    pixels_used, pixels_rejected, outliers : int
        Numbers of detector pixels; `outliers` is -1 where they were not looked for.
    registration : str
        What was done about the pointing, in words.
    warnings, problems : tuple of str
        What the reader should know of, and what went wrong.
    """

    title: str
    name: str = ""
    cube: str = ""
    picture: str = ""
    maps: str = ""
    thumbnail: str = ""
    ra: float | None = None
    dec: float | None = None
    field: tuple = ()
    shape: tuple = ()
    wavelengths: tuple = ()
    grating: str = ""
    line: str = ""
    line_wavelength: float | None = None
    line_snr: float | None = None
    continuum_snr: float | None = None
    redshift: float | None = None
    exposures_used: int = 0
    exposures_rejected: int | None = None
    pixels_used: int = 0
    pixels_rejected: int = 0
    outliers: int = -1
    registration: str = ""
    warnings: tuple = ()
    problems: tuple = ()

    def as_dict(self):
        """Give the entry as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content):
        """Make an entry of what `as_dict` gave; keys of other versions are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.items() if key in known
        })  # fmt: skip
