"""The record of a simulated survey: what is true of its sources and pointings."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import asdf
import numpy as np

from msa3d_steps import __version__
from msa3d_steps.errors import InputError
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.geometry import Pointing, SlitPlace
from msa3d_steps.simulate.scene.psf import Psf
from msa3d_steps.simulate.scene.render import SlitPixels
from msa3d_steps.simulate.scene.sources import Galaxy, Line, PointSource, Scene
from msa3d_steps.whole import replace_whole

__all__ = ["Truth", "read_truth", "write_truth"]

TRUTH, SLITS = "truth.asdf", "slits.asdf"


def write_truth(folder, bench):
    """Write sources, pointings, point spread function, and where the slitlets fall.

    Parameters
    ----------
    folder : Path
        Where to.
    bench : Bench
        The survey.
    """
    survey = dataclasses.asdict(bench.survey)
    survey["sources"] = list(survey["sources"])
    kinds = {Galaxy: "galaxy", PointSource: "point"}
    sources = []
    for source in bench.scene.sources:
        content = dataclasses.asdict(source) | {"kind": kinds[type(source)]}
        content["lines"] = [dict(line) for line in content["lines"]]
        content["clumps"] = [list(clump) for clump in content.get("clumps", ())]
        sources.append(content)
    lam, dispersion = _dispersion(bench)
    tree = {
        "survey": survey,
        "sources": sources,
        "zodiacal": bench.scene.zodiacal,
        "zodiacal_slope": bench.scene.zodiacal_slope,
        "psf": dataclasses.asdict(bench.psf) | {
            "weights": list(bench.psf.weights), "sigmas": list(bench.psf.sigmas)
        },
        "lam": lam, "dispersion": dispersion,
        "commanded_offsets": bench.commanded,
        "unknown_offsets": bench.survey.unknown_offsets(),
        "pointings": [dataclasses.asdict(pointing) for pointing in bench.pointings],
        "slitlets": [dataclasses.asdict(slitlet) for slitlet in bench.slitlets],
        "stuck_open": list(bench.stuck.place) if bench.stuck else None,
        "version": __version__,
    }  # fmt: skip
    with replace_whole(folder / TRUTH) as path:
        asdf.AsdfFile(tree).write_to(path)
    with replace_whole(folder / SLITS) as path:
        asdf.AsdfFile({"slits": _slits(bench)}).write_to(path)


def _slits(bench):
    """Make the records of the slitlets on the detectors."""
    return [
        {
            "detector": detector, "name": slit.name, "source_id": int(slit.model.source_id),
            "pixels": {
                field.name: getattr(slit.pixels, field.name)
                for field in dataclasses.fields(SlitPixels)
            },
            "v2": list(slit.place.v2), "v3": list(slit.place.v3),
            "corners": [list(values) for values in slit.place.corners],
        }
        for detector, slits in bench.slits.items() for slit in slits
    ]  # fmt: skip


def _dispersion(bench):
    """Wavelength per pixel (um) as a function of wavelength (um), of the first slitlet."""
    name = str(bench.slitlets[0].slitlet_id)
    found = [s.pixels for slits in bench.slits.values() for s in slits if s.name == name]
    lam = np.linspace(
        min(np.nanmin(p.lam) for p in found), max(np.nanmax(p.lam) for p in found), 400
    )
    valid = [np.isfinite(p.lam) for p in found]
    at = np.concatenate([p.lam[v] for p, v in zip(found, valid, strict=True)])
    value = np.concatenate([p.bandpass[v] for p, v in zip(found, valid, strict=True)])
    order = np.argsort(at)
    return lam, np.interp(lam, at[order], value[order])


@dataclass(frozen=True)
class Truth:
    """What is true of a survey.

    Attributes
    ----------
    survey : Survey
        Its options.
    scene : Scene
        What shone.
    psf : Psf
        Point spread function.
    pointings : tuple of Pointing
        Where the telescope really looked.
    folder : Path
        Where the record is.
    lam, wavelength_per_pixel : ndarray
        Dispersion as a table, um.
    """

    survey: Survey
    scene: Scene
    psf: Psf
    pointings: tuple
    folder: Path
    lam: np.ndarray
    wavelength_per_pixel: np.ndarray

    def dispersion(self, lam):
        """Wavelength per pixel at a wavelength, um."""
        return np.interp(lam, self.lam, self.wavelength_per_pixel)

    def cutouts(self, source_id):
        """Read place and pixels of all cutouts of a source.

        Parameters
        ----------
        source_id : int
            Number of the source.

        Returns
        -------
        list of tuple
            `SlitOnSky` and `SlitPixels`, an entry for each exposure and detector.
        """
        with asdf.open(self.folder / SLITS, memmap=False, lazy_load=False) as file:
            own = [slit for slit in file["slits"] if slit["source_id"] == source_id]
            slits = [(_place(slit), SlitPixels(**dict(slit["pixels"]))) for slit in own]
        return [
            (place.on_sky(pointing.to_sky()), pixels)
            for pointing in self.pointings
            for place, pixels in slits
        ]

    def source(self, source_id):
        """Find a source by its number; raises InputError if there is none."""
        for source in self.scene.sources:
            if source.source_id == source_id:
                return source
        raise InputError(f"there is no source {source_id} in this survey")


def read_truth(folder):
    """Read what is true of a survey.

    Parameters
    ----------
    folder : str or Path
        The survey's folder.

    Returns
    -------
    Truth
        Sources, pointings and point spread function.

    Raises
    ------
    InputError
        If the folder holds no simulated survey.
    """
    path = Path(folder) / "truth" / TRUTH
    try:
        with asdf.open(path, memmap=False) as file:
            tree = {key: file[key] for key in file.keys()}
            lam, dispersion = np.array(tree["lam"]), np.array(tree["dispersion"])
            sources = tuple(_source(dict(content)) for content in tree["sources"])
            values = dict(tree["survey"])
            values["sources"] = tuple(dict(s) for s in values["sources"])
            psf = dict(tree["psf"])
    except (OSError, ValueError, KeyError) as err:
        raise InputError(f"{folder}: no simulated survey is there ({err})") from err
    psf["weights"], psf["sigmas"] = tuple(psf["weights"]), tuple(psf["sigmas"])
    scene = Scene(sources, tree["zodiacal"], tree["zodiacal_slope"])
    pointings = tuple(Pointing(**dict(pointing)) for pointing in tree["pointings"])
    return Truth(Survey(**values), scene, Psf(**psf), pointings, path.parent, lam, dispersion)


def _place(slit):
    """Make the place of a slitlet from its record."""
    corners = tuple(tuple(values) for values in slit["corners"])
    return SlitPlace(tuple(slit["v2"]), tuple(slit["v3"]), corners)


def _source(content):
    """Make a source from its record."""
    kind = content.pop("kind")
    content["lines"] = tuple(Line(**dict(line)) for line in content["lines"])
    clumps = tuple(tuple(clump) for clump in content.pop("clumps", ()))
    if kind == "galaxy":
        return Galaxy(**content, clumps=clumps)
    return PointSource(**content)
