"""A survey made ready: reference files, slitlets, sources and pointings."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.detector.exposing import NoiseModel
from msa3d_steps.simulate.exposure import PROGRAM, ExposureName, metadata, rate_model
from msa3d_steps.simulate.geometry import (
    Pointing,
    lay_out,
    offset_pointing,
    pointing_at,
)
from msa3d_steps.simulate.metafile import SHUTTERS_ALONG, Slitlet, write_metafile
from msa3d_steps.simulate.optics.references import write_wcs_references
from msa3d_steps.simulate.references.calibration import Response
from msa3d_steps.simulate.scene.psf import Psf
from msa3d_steps.simulate.scene.render import observe
from msa3d_steps.simulate.scene.sources import Scene

__all__ = ["Bench", "prepare"]

log = logging.getLogger(__name__)

# Quadrants 3 and 4 and these columns put the middle of the gap of the high-resolution gratings
# near the middle of their range; the traces of neighbours are then parallel.
QUADRANTS, COLUMNS = (3, 4), (150, 210)
# The spectra of the prism are short: whole on NRS1 from quadrants 3 and 4, on NRS2 from 2 and 1.
PRISM_QUADRANTS, PRISM_COLUMNS = (3, 2, 4, 1), (100, 170)
EDGE = 4  # shutters at the ends of a quadrant that stay closed
CLEARANCE = 2  # shutters between two slitlets, 10 pixels
OPEN = 0.5  # half the open height of a shutter, in units of itself


@dataclass(frozen=True)
class StuckShutter:
    """A shutter that never closes, away from all slitlets; the background shines through it.

    Attributes
    ----------
    quadrant, x, y : int
        Which shutter, as in `Slitlet`.
    slits : dict of str to list of DetectorSlit
        Where its spectrum falls on each detector; an empty list if it does not.
    responses : dict of str to list of ndarray
        DN/s per MJy/sr of the pixels there.
    """

    quadrant: int
    x: int
    y: int
    slits: dict
    responses: dict

    @property
    def place(self):
        """Quadrant, x and y."""
        return self.quadrant, self.x, self.y

    def add_light(self, image, detector, scene):
        """Add its light to the rate of a detector, DN/s, in place.

        The blur beyond the shutter's open height is left out, for jwst does not flag it.
        """
        for slit, response in zip(self.slits[detector], self.responses[detector], strict=True):
            light = scene.background(slit.pixels.lam) * response
            light[np.abs(slit.pixels.y_slit) > OPEN] = 0
            image[slit.window] += np.nan_to_num(light).astype(np.float32)


@dataclass(frozen=True)
class Bench:
    """Everything that the exposures of a survey have in common.

    Attributes
    ----------
    survey : Survey
        What was asked for.
    scene : Scene
        What shines.
    psf : Psf
        Point spread function.
    noise : NoiseModel
        What the detectors add.
    slitlets : tuple of Slitlet
        Open shutters and their sources.
    slits : dict of str to list of DetectorSlit
        The slitlets on each detector.
    responses : dict of str to list of ndarray
        DN/s per MJy/sr of their pixels.
    commanded : ndarray
        Offsets across and along the slits, arcsec, shape ``(n_exposures, 2)``.
    pointings : tuple of Pointing
        Where the telescope really looked, for each exposure.
    told : tuple of Pointing
        Where headers and WCS say that it looked.
    references : dict of str to Path
        The WCS reference files.
    stuck : StuckShutter or None
        A shutter that never closes, if there is room for its spectrum.
    """

    survey: Survey
    scene: Scene
    psf: Psf
    noise: NoiseModel
    slitlets: tuple
    slits: dict
    responses: dict
    commanded: np.ndarray
    pointings: tuple
    told: tuple
    references: dict
    stuck: StuckShutter | None = None

    def names(self):
        """Names of all exposures in the order in which they are taken."""
        numbers = range(1, self.survey.n_exposures + 1)
        return [
            ExposureName(n, d, self.survey.observation)
            for n in numbers
            for d in self.survey.detectors
            if self.slits[d]
        ]

    def metadata(self, name):
        """Metadata of an exposure."""
        index = name.number - 1
        return metadata(self.survey, name, self.told[index], self.commanded[index])

    def to_sky(self, name):
        """Transform from v2, v3 to the sky in an exposure, as its WCS has it."""
        return self.told[name.number - 1].to_sky()

    def brightness(self, name):
        """Average the scene over all pixels of an exposure.

        Returns
        -------
        list of ndarray
            MJy/sr, for each slitlet on the detector.
        """
        to_sky = self.pointings[name.number - 1].to_sky()
        return [
            observe(self.scene, self.psf, slit.place.on_sky(to_sky), slit.pixels)
            for slit in self.slits[name.detector]
        ]

    def rate(self, name, brightness):
        """Turn brightness into the noise-free rate of a detector, DN/s, ``(2048, 2048)``."""
        image = np.zeros((2048, 2048), np.float32)
        slits, responses = self.slits[name.detector], self.responses[name.detector]
        for slit, response, shown in zip(slits, responses, brightness, strict=True):
            image[slit.window] += np.nan_to_num(shown * response).astype(np.float32)
        if self.stuck:
            self.stuck.add_light(image, name.detector, self.scene)
        return image

    def cutouts(self, source_id=None):
        """Give place and pixels of all cutouts, of one source or of all.

        Returns
        -------
        list of tuple
            `SlitOnSky` and `SlitPixels`.
        """
        return [
            (slit.place.on_sky(pointing.to_sky()), slit.pixels)
            for pointing in self.pointings
            for slits in self.slits.values()
            for slit in slits
            if source_id is None or slit.model.source_id == source_id
        ]


def prepare(survey, references, metafile, sources=None):
    """Make a survey ready; writes its MSA metafile.

    Parameters
    ----------
    survey : Survey
        What is asked for.
    references : str or Path
        Folder for the WCS reference files; they are written.
    metafile : str or Path
        Where to write the MSA metafile.
    sources : sequence or None
        Sources in place of those that the survey makes, at their own places.

    Returns
    -------
    Bench
        The survey, ready to be exposed.

    Raises
    ------
    InputError
        If the slitlets do not fit, or nothing falls on the detectors.
    """
    psf = Psf.named(survey.psf)
    paths = write_wcs_references(Path(references), survey.grating, survey.filter)
    slitlets = _slitlets(survey)
    extra = _stuck_slitlet(slitlets)
    write_metafile(metafile, [*slitlets, *extra], survey.n_exposures, program=int(PROGRAM))
    slits = {d: _detector_slits(survey, d, paths, metafile) for d in survey.detectors}
    stuck = _take_stuck_shutter(survey, slits, extra)
    if not any(slits.values()):
        raise InputError(f"Survey: no spectrum of {survey.grating} falls on a detector.")
    commanded, actual = survey.offsets()
    first = next(slit for found in slits.values() for slit in found)
    middle = _middle_pointing(survey, first.place)
    pointings, told = (
        tuple(offset_pointing(middle, first.place, offset) for offset in offsets)
        for offsets in (actual + survey.unknown_offsets(), actual)
    )
    if sources is None:
        places = _places(slitlets, slits, middle)
        sources = survey.make_sources(places)
        _warn_of_lines(sources, places)
    slitlets = tuple(_named(s, source) for s, source in zip(slitlets, sources, strict=True))
    write_metafile(metafile, slitlets, survey.n_exposures, program=int(PROGRAM))
    _name(slits, slitlets)
    responses = {
        detector: [_response(survey, detector, slit) for slit in found]
        for detector, found in slits.items()
    }
    scene = Scene(tuple(sources), survey.zodiacal)
    return Bench(
        survey, scene, psf, _noise_model(survey), slitlets, slits, responses, commanded, pointings,
        told, paths, stuck,
    )  # fmt: skip


def _slitlets(survey):
    """Choose the open shutters, far enough from each other."""
    quadrants, columns = QUADRANTS, COLUMNS
    if survey.grating == "PRISM":
        quadrants, columns = PRISM_QUADRANTS, PRISM_COLUMNS
    banks = np.array_split(np.arange(survey.n_sources), len(quadrants))
    random = np.random.default_rng([survey.seed, 3])
    slitlets = []
    for quadrant, bank in zip(quadrants, banks, strict=True):
        if not bank.size:
            continue
        distance = (SHUTTERS_ALONG - 2 * EDGE) / bank.size
        if distance < survey.shutters + CLEARANCE:
            raise InputError(
                f"Survey: {survey.n_sources} slitlets of {survey.shutters} shutters do not fit "
                "without overlap of their spectra; take fewer sources or shorter slitlets."
            )
        for place, number in enumerate(bank + 1):
            y = int(EDGE + (place + 0.5) * distance)
            x = int(random.integers(*columns, endpoint=True))
            name = f"source{number}"
            slitlets.append(
                Slitlet(int(number), quadrant, x, y, survey.shutters, int(number), name, name, 0, 0)
            )
    return slitlets


def _stuck_slitlet(slitlets):
    """Choose a shutter in the middle of the widest hole between the slitlets of a quadrant.

    Returns
    -------
    list of Slitlet
        It alone as a slitlet, or nothing where there is no room.
    """
    holes = []
    for quadrant in {slitlet.quadrant: None for slitlet in slitlets}:
        own = sorted((s for s in slitlets if s.quadrant == quadrant), key=lambda s: s.y)
        low = [EDGE, *(slitlet.columns[-1] for slitlet in own)]
        high = [*(slitlet.columns[0] for slitlet in own), SHUTTERS_ALONG - EDGE + 1]
        near = [own[0], *own]
        holes += [
            (above - below - 1, (below + above) // 2, slitlet)
            for below, above, slitlet in zip(low, high, near, strict=True)
        ]
    width, y, slitlet = max(holes, key=lambda hole: hole[0])
    if width < 1 + 2 * CLEARANCE:
        return []
    number = len(slitlets) + 1
    return [Slitlet(number, slitlet.quadrant, slitlet.x, y, 1, number, "stuck", "stuck", 0, 0)]


def _take_stuck_shutter(survey, slits, extra):
    """Take the stuck shutter out of what lies on the detectors; None if it hits a slitlet."""
    if not extra:
        return None
    (slitlet,) = extra
    name = str(slitlet.slitlet_id)
    own = {d: [slit for slit in found if slit.name == name] for d, found in slits.items()}
    for found in slits.values():
        found[:] = [slit for slit in found if slit.name != name]
    if any(_touch(a, b) for d in own for a in own[d] for b in slits[d]):
        log.info("no room on the detectors for a shutter that is stuck open")
        return None
    responses = {d: [_response(survey, d, slit) for slit in found] for d, found in own.items()}
    return StuckShutter(slitlet.quadrant, slitlet.x, slitlet.y, own, responses)


def _touch(slit, other):
    """Say whether the light of a slitlet falls into the cutout of another."""
    lit = np.nonzero(np.isfinite(slit.pixels.lam))
    inside = [
        (pixels + own.start >= cut.start) & (pixels + own.start < cut.stop)
        for pixels, own, cut in zip(lit, slit.window, other.window, strict=True)
    ]
    return bool((inside[0] & inside[1]).any())


def _detector_slits(survey, detector, references, metafile):
    """Lay the slitlets out on a detector."""
    name = ExposureName(1, detector, survey.observation)
    meta = metadata(survey, name, Pointing(survey.ra, survey.dec, 0.0), (0.0, 0.0))
    return lay_out(rate_model(meta, name, None), references, metafile)


def _middle_pointing(survey, place):
    """Point so that the reference point is at the survey's position and the slits at its angle."""
    pointing = pointing_at(place, survey.ra, survey.dec, survey.position_angle)
    return Pointing(survey.ra, survey.dec, pointing.roll)


def _places(slitlets, slits, middle):
    """Find where the slitlets look in the middle of the pattern, and what wavelengths they see."""
    to_sky = middle.to_sky()
    places = []
    for slitlet in slitlets:
        own = [s for found in slits.values() for s in found if s.name == str(slitlet.slitlet_id)]
        if not own:
            raise InputError(f"Survey: slitlet {slitlet.slitlet_id} falls on no detector.")
        slit = own[0].place.on_sky(to_sky)
        along = np.array(slit.along) * 0.5 * (own[0].model.slit_ymin + own[0].model.slit_ymax)
        ra = slit.ra + along[0] / 3600 / np.cos(np.deg2rad(slit.dec))
        ranges = [s.wavelength_range() for s in own]
        places.append((float(ra), float(slit.dec + along[1] / 3600), ranges))
    return places


def _warn_of_lines(sources, places):
    """Warn of sources none of whose lines fall on a detector."""
    for source, (*_, ranges) in zip(sources, places, strict=True):
        seen = [
            line for line in source.lines for low, high in ranges
            if low < source.observed(line) < high
        ]  # fmt: skip
        if source.lines and not seen:
            log.warning(
                "source %d: at redshift %.3f no line falls on a detector; choose another",
                source.source_id, source.redshift,
            )  # fmt: skip


def _named(slitlet, source):
    """Give a slitlet the name and place of its source."""
    return Slitlet(
        slitlet.slitlet_id, slitlet.quadrant, slitlet.x, slitlet.y, slitlet.n_shutters,
        source.source_id, f"{int(PROGRAM)}_{source.source_id}", str(source.source_id),
        source.ra, source.dec,
    )  # fmt: skip


def _name(slits, slitlets):
    """Write the names and places of the sources into the cutouts."""
    by_number = {str(slitlet.slitlet_id): slitlet for slitlet in slitlets}
    for found in slits.values():
        for slit in found:
            slitlet = by_number[slit.name]
            slit.model.source_id = slitlet.source_id
            slit.model.source_name, slit.model.source_alias = slitlet.source_name, slitlet.alias
            slit.model.source_ra, slit.model.source_dec = slitlet.ra, slitlet.dec
            slit.model.stellarity = slitlet.stellarity


def _response(survey, detector, slit):
    """Response of a slitlet's pixels, DN/s per MJy/sr."""
    model = slit.model
    response = Response(survey.grating, survey.filter, detector)
    return response(
        slit.pixels.lam, slit.pixels.y_slit, model.xstart, model.ystart, model.quadrant,
        model.shutter_state, model.slit_yscale,
    )  # fmt: skip


def _noise_model(survey):
    """Make the noise that a survey asks for."""
    model = NoiseModel(flicker=survey.flicker)
    if not survey.cosmic_rays:
        model = NoiseModel(flicker=survey.flicker, cosmic_ray_rate=0.0)
    return model if survey.noise else model.quiet()
