"""The search for outliers as an stpipe step."""

import logging
import time

import numpy as np

from msa3d_steps.cube.correction import Correction
from msa3d_steps.cube.naming import product_stem
from msa3d_steps.cutout_step import MSA3DCutoutStep
from msa3d_steps.errors import InputError, not_written
from msa3d_steps.outlier.lacosmic import LacosmicOptions, find_outliers_alone
from msa3d_steps.outlier.record import write_outliers
from msa3d_steps.outlier.stack import StackOptions, find_outliers
from msa3d_steps.tasks import number_of_cores
from msa3d_steps.words import counted

__all__ = ["MSA3DOutlierStep"]

log = logging.getLogger(__name__)


class MSA3DOutlierStep(MSA3DCutoutStep):
    """Flag pixels that cosmic rays or defects have spoilt; no value is changed.

    Slit stepping sees each place of the sky several times: a pixel is compared with what the other
    exposures of the place make expect, or with its neighbours in the exposure itself.
    """

    class_alias = "msa3d_outlier"
    status = "outlier_detection"

    spec = """
    method = option('stack', 'lacosmic', 'both', default='stack') # Compare with the other exposures of the place (stack), with the neighbours in the exposure (lacosmic), or both
    snr = float(min=0, default=4.5) # stack: distance from the expectation, in standard deviations, that makes an outlier
    snr_near = float(min=0, default=2.5) # stack: the same for pixels that touch an outlier
    misregistration = float(min=0, default=0.05) # stack: least error of the places of exposures to allow for, detector pixels
    sigclip = float(min=0, default=4.5) # lacosmic: contrast of the Laplacian with the noise that makes an outlier
    sigfrac = float(min=0, max=1, default=0.3) # lacosmic: part of sigclip for pixels that touch an outlier
    objlim = float(min=0, default=5.0) # lacosmic: least contrast with the fine structure, which protects lines
    niter = integer(min=1, default=4) # lacosmic: number of iterations
    line_width = float(min=0, default=2.0) # lacosmic: FWHM of the narrowest line, which is protected, pixels; 0 protects none
    read_noise = float(min=0, default=None) # lacosmic: noise as if data were electrons with this read noise; ERR if not given
    save_outliers = boolean(default=False) # Save masks and expectations of each source (..._outliers.fits)
    maximum_cores = string(default='half') # Cores for threads. Can be an integer, 'none', 'quarter', 'half', or 'all'
    suffix = string(default='crf') # Suffix of the exposures
    """  # noqa: E501

    def begin(self):
        """Check parameters; see `MSA3DCutoutStep`."""
        self._stack_options()

    def corrections(self, source):
        """Find the outliers of a source.

        Parameters
        ----------
        source : Source
            The source.

        Returns
        -------
        list of Correction
            The outliers of each cutout.
        """
        start = time.perf_counter()
        masks = [np.zeros(c.data.shape, bool) for c in source.cutouts]
        expected = None
        if self.method != "lacosmic":
            found = find_outliers(source, self._stack_options())
            self._tell_of_lonely_steps(source, found.alone)
            masks, expected = found.masks, found.expected
        if self.method != "stack":
            options = LacosmicOptions(
                self.sigclip, self.sigfrac, self.objlim, self.niter, self.line_width,
                self.read_noise,
            )  # fmt: skip
            alone = [find_outliers_alone(c, options) for c in source.cutouts]
            masks = [a | b for a, b in zip(masks, alone, strict=True)]
        self._tell(source, masks, time.perf_counter() - start)
        if self.save_outliers:
            stem = product_stem(source, self.asked_stem())
            path = self.output_folder() / f"{stem}_outliers.fits"
            self._save(path, source, masks, expected)
        return [Correction(outliers=mask) for mask in masks]

    def _save(self, path, source, masks, expected):
        """Save masks and expectations; that they cannot be written does not stop the work."""
        try:
            write_outliers(path, source, masks, expected)
        except OSError as err:
            self.complain(not_written(path.name, err))
        else:
            log.info("Masks are in %s", path)

    def _stack_options(self):
        """Check the parameters that the spec cannot check."""
        if not 0 < self.snr_near <= self.snr:
            raise InputError(
                f"snr_near is {self.snr_near}; it must be above 0, at most snr, {self.snr}"
            )
        threads = number_of_cores(self.maximum_cores)
        return StackOptions(self.snr, self.snr_near, self.misregistration, threads)

    def _tell_of_lonely_steps(self, source, alone):
        """Say where nothing can be compared."""
        if not alone:
            return
        log.warning(
            "%s: outliers of %s (%s) cannot be found by comparison, since there is one exposure of "
            "the place only; use --method=both for them",
            source.title, counted(len(alone), "step"), ", ".join(str(step + 1) for step in alone),
        )  # fmt: skip

    def _tell(self, source, masks, seconds):
        """Log how many were found."""
        numbers = [int(mask.sum()) for mask in masks]
        for cutout, number in zip(source.cutouts, numbers, strict=True):
            log.info(
                "%s, slit %s: %s of %d pixels",
                cutout.file, cutout.slit, counted(number, "outlier"), cutout.used,
            )  # fmt: skip
        used = sum(c.used for c in source.cutouts)
        log.info(
            "%s: %s in %s, %.2f%% of the pixels, %.1f s",
            source.title, counted(sum(numbers), "outlier"),
            counted(len(masks), "cutout"), 100 * sum(numbers) / max(used, 1), seconds,
        )  # fmt: skip
