"""The subtraction of the background as an stpipe step."""

import logging
import math

import numpy as np

from msa3d_steps.background.sourcefree import measure_sky
from msa3d_steps.background.spectrum import read_spectrum, write_spectrum
from msa3d_steps.cube.correction import Correction
from msa3d_steps.cube.naming import product_stem
from msa3d_steps.cutout_step import MSA3DCutoutStep
from msa3d_steps.errors import InputError, not_written

__all__ = ["MSA3DBackgroundStep"]

log = logging.getLogger(__name__)

SUBTRACTED = ("bkg_subtract", "master_background")
"""Steps in ``meta.cal_step`` that take the background off."""


class MSA3DBackgroundStep(MSA3DCutoutStep):
    """Subtract the background: as it is where the source does not shine, or as a file has it.

    The same spectrum is subtracted from all cutouts of a source.
    """

    class_alias = "msa3d_background"
    status = "master_background"
    sees_blanks = True

    spec = """
    method = option('source_free', 'model', default='source_free') # Where the spectrum comes from: what is empty in the slitlets, or a file
    spectrum = string(default=None) # File of the spectrum for the method model: table (ECSV or FITS) of wavelength (um) and brightness (MJy/sr)
    use_background_slits = boolean(default=True) # Measure in background slits (b...) of the same exposures too, where they are among the inputs
    most_lost = float(default=0.5) # How much of the flux of the galaxy may be taken for sky, percent
    smoothing = float(min=0, default=0.0) # Distance of the knots of the smooth spectrum, um; 0 for what the data ask for
    save_spectrum = boolean(default=False) # Write the spectrum that was subtracted as a table, ..._sky.ecsv
    suffix = string(default='mbsub') # Suffix of the exposures where they are saved
    """  # noqa: E501

    def begin(self):
        """Check parameters and read the file of the spectrum; see `MSA3DCutoutStep`."""
        self._check_parameters()
        self._model = read_spectrum(self.spectrum) if self.method == "model" else None

    def _check_parameters(self):
        if self.method == "model" and not self.spectrum:
            raise InputError("the method model needs a file; give it with --spectrum=FILE")
        if self.method != "model" and self.spectrum:
            raise InputError(f"{self.spectrum} is not used; add --method=model, or leave it out")
        for name in ("most_lost", "smoothing"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)}; it must be a number")
        if not 0 < self.most_lost <= 100:
            raise InputError(f"most_lost is {self.most_lost}; it must be above 0, at most 100")
        if self.save_spectrum:
            self._check_output_folder()

    def see(self, sources):
        """Keep the background slits."""
        self._blanks = [s for s in sources if s.kind == "background"]

    def corrections(self, source):
        """Give the sky at the pixels of the cutouts of a source; see `MSA3DCutoutStep`."""
        for cutout, header in zip(source.cutouts, source.headers, strict=True):
            _refuse_twice(cutout, header)
        spectrum = self._spectrum_of(source)
        if self.save_spectrum:
            self._save(spectrum, source)
        return [_correction(c, spectrum, self.spectrum) for c in source.cutouts]

    def _spectrum_of(self, source):
        """Give the spectrum of the sky through the disperser of a source."""
        if self._model is not None:
            log.info("%s: background of %s subtracted", source.title, self.spectrum)
            return self._model
        same = [s for s in self._blanks if s.disperser == source.disperser]
        blanks = [s.cutouts for s in same if self.use_background_slits or s.label == source.label]
        own = [] if source.kind == "background" else source.cutouts  # it is among the blanks
        try:
            sky = measure_sky(own, blanks, self.smoothing or None, self.most_lost / 100)
        except InputError as err:
            first = source.cutouts[0]
            raise InputError(err.problem.message, first.file, first.slit) from err
        log.info(
            "%s: background of %.4g MJy/sr (median) subtracted, known to %.2g",
            source.title, np.median(sky.brightness), np.median(sky.uncertainty),
        )  # fmt: skip
        return sky

    def _save(self, spectrum, source):
        """Write the spectrum that is subtracted from a source."""
        asked = self.asked_stem() or self.remove_suffix(source.cutouts[0].file.split(".")[0])[0]
        path = self.output_folder() / f"{product_stem(source, _named(asked, source))}_sky.ecsv"
        try:
            write_spectrum(spectrum, path)
        except OSError as err:
            problem = not_written(str(path), err)
            raise InputError(problem.message, problem.file) from err
        log.info("%s: the spectrum is in %s", source.title, path)


def _named(stem, source):
    """Put the source into a name that has no place for it."""
    return stem if "{" in stem or source.label in stem else f"{stem}_{source.label}"


def _refuse_twice(cutout, header):
    """Raise an error where the background is off already."""
    for name in SUBTRACTED:
        if header.get(f"meta.cal_step.{name}") == "COMPLETE":
            raise InputError(
                f"its background is subtracted already (meta.cal_step.{name}); leave out "
                "msa3d_background, or start from exposures with their background",
                cutout.file, cutout.slit,
            )  # fmt: skip


def _correction(cutout, spectrum, file):
    """Evaluate the sky at the pixels of a cutout; 0 beyond the slitlet.

    Raises
    ------
    InputError
        Where a pixel that has data is beyond the spectrum.
    """
    footprint = cutout.footprint
    middles, span = footprint.middles, footprint.span
    lam, y_slit = footprint.wavelength(*middles), footprint.along(*middles)
    lit = np.isfinite(cutout.data[:, span])
    low, high = spectrum.wavelength[[0, -1]]
    if lit.any() and not (low <= lam[lit].min() and lam[lit].max() <= high):
        raise InputError(
            f"its wavelengths, {lam[lit].min():.4f} to {lam[lit].max():.4f} um, are not all in "
            f"the spectrum of the background{f' {file}' if file else ''}, which has "
            f"{low:.4f} to {high:.4f} um; give one that covers them",
            cutout.file, cutout.slit,
        )  # fmt: skip
    inside = lit | (y_slit >= footprint.limits[0]) & (y_slit <= footprint.limits[1])
    planes = np.zeros((2, *footprint.shape), np.float32)
    planes[0, :, span] = np.where(inside, spectrum(lam), 0)
    planes[1, :, span] = np.where(inside, spectrum.variance(lam), 0)
    return Correction(sky=planes[0], sky_variance=planes[1])
