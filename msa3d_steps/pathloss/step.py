"""The correction of the pathloss of uniform sources as an stpipe step."""

import logging

import numpy as np
from jwst.lib.pipe_utils import match_nans_and_flags
from stdatamodels.jwst.datamodels import JwstDataModel

from msa3d_steps.cube.correction import Correction
from msa3d_steps.cube.slits import slits_of
from msa3d_steps.cube.transforms import frame_names
from msa3d_steps.cutout_step import MSA3DCutoutStep
from msa3d_steps.errors import InputError
from msa3d_steps.pathloss.uniform import (
    corrected_kind,
    needs_pathloss,
    pathloss_of_cutout,
    read_reference,
)

__all__ = ["MSA3DPathlossStep"]

log = logging.getLogger(__name__)


class MSA3DPathlossStep(MSA3DCutoutStep):
    """Correct cutouts for the pathloss of a source that fills its slitlet.

    It is for data whose pathloss was left out of calwebb_spec2, and for slits that jwst left out.
    """

    class_alias = "msa3d_pathloss"
    status = "pathloss"
    reference_file_types = ["pathloss"]  # noqa: RUF012 - as stpipe has it
    prefetch_references = False  # CRDS is asked when it is clear that a reference is needed

    spec = """
    inverse = boolean(default=False) # Undo the correction
    shutters = integer(min=1, default=None) # Open shutters of a slitlet, for files that do not say (SHUTSTA)
    suffix = string(default='pathloss') # Suffix of the exposures where they are saved
    """  # noqa: E501

    @property
    def outcome(self):
        """What ``meta.cal_step`` says where cutouts were corrected."""
        return "SKIPPED" if self.inverse else "COMPLETE"

    @classmethod
    def _get_crds_parameters(cls, dataset):
        """Take the parameters of CRDS out of the metadata of a cutout, too."""
        if isinstance(dataset, dict):
            return dataset, "jwst"
        return super()._get_crds_parameters(dataset)

    def begin(self):
        """Forget the reference files and vectors of another run; see `MSA3DCutoutStep`."""
        self._references, self._recorded = {}, {}
        self.references_used = []

    def is_needed(self, source):
        """Tell whether any cutout of a source is still to be worked on; see `MSA3DCutoutStep`."""
        return needs_pathloss(source, self.inverse)

    def note(self, slit, cutout):
        """Remember whether a slit was divided, and by what; see `MSA3DCutoutStep`."""
        recorded = getattr(slit, "pathloss_uniform", None)
        if np.shape(recorded) == cutout.data.shape:
            self._recorded[id(cutout)] = np.array(recorded) if self.inverse else None

    def see(self, sources):
        """Say at once, and once, where nothing is to be done or there is no reference file."""
        cutouts = [cutout for source in sources for cutout in source.cutouts]
        headers = [header for source in sources for header in source.headers]
        kinds = self._kinds(cutouts, headers)
        if kinds and self._wanted not in kinds:
            raise self._nothing_to_do(cutouts, kinds)
        for cutout, header, kind in zip(cutouts, headers, kinds, strict=True):
            if kind == self._wanted and id(cutout) not in self._recorded:
                self._reference(header)
                return

    def corrections(self, source):
        """Give the factors of the cutouts of a source; see `MSA3DCutoutStep`."""
        kinds = self._kinds(source.cutouts, source.headers)
        if self._wanted not in kinds:
            raise self._nothing_to_do(source.cutouts, kinds)
        if "POINT" in kinds:
            cutout = source.cutouts[kinds.index("POINT")]
            log.warning(
                "%s, slit %s: %d cutouts of source %s are corrected as a point source; they stay "
                "so", cutout.file, cutout.slit, kinds.count("POINT"), source.title,
            )  # fmt: skip
        corrections = [
            self._correction(cutout, header) if kind == self._wanted else None
            for cutout, header, kind in zip(source.cutouts, source.headers, kinds, strict=True)
        ]
        log.info(
            "%s: pathloss of a uniform source %s in %d of %d cutouts%s", source.title,
            "put back" if self.inverse else "corrected", kinds.count(self._wanted), len(kinds),
            "" if kinds.count(self._wanted) == len(kinds)
            else f"; the others were {'not corrected' if self.inverse else 'corrected already'}",
        )  # fmt: skip
        return corrections

    def _kinds(self, cutouts, headers):
        """Tell what is corrected, as `corrected_kind`; a recorded vector says so, too."""
        return [
            corrected_kind(cutout, header) or ("UNIFORM" if id(cutout) in self._recorded else "")
            for cutout, header in zip(cutouts, headers, strict=True)
        ]

    @property
    def _wanted(self):
        """The kind of cutouts that are worked on, as in `corrected_kind`."""
        return "UNIFORM" if self.inverse else ""

    def _correction(self, cutout, header):
        factor = self._recorded.get(id(cutout))
        if factor is None:
            factor = pathloss_of_cutout(cutout, self._reference(header), self.shutters)
        if self.inverse:
            return Correction(factor=1 / factor.astype(float), pathloss="")
        return Correction(factor=factor, pathloss="UNIFORM")

    def _nothing_to_do(self, cutouts, kinds):
        """Say why no cutout of a source is changed."""
        kind = "POINT" if "POINT" in kinds else kinds[0]
        cutout = cutouts[kinds.index(kind)]
        if kind == "POINT":
            message = (
                "its pathloss is corrected as that of a point source, which cannot be undone with "
                "the vector of a uniform source; run calwebb_spec2 again with "
                "--steps.pathloss.source_type=EXTENDED"
            )
        elif self.inverse:
            message = "its pathloss is not corrected; leave out --inverse to correct it"
        else:
            message = (
                "its pathloss is corrected already; use it as it is, or undo it with --inverse=true"
            )
        return InputError(message, cutout.file, cutout.slit)

    def _reference(self, header):
        """Give the vectors for an exposure; CRDS chooses by its type and date."""
        key = tuple(
            header.get(f"meta.{name}") for name in ("exposure.type", "observation.date")
        ) if self.get_ref_override("pathloss") is None else None  # fmt: skip
        if key not in self._references:
            self._references[key] = self._find_reference(header)
        return self._references[key]

    def _find_reference(self, header):
        override = self.get_ref_override("pathloss")
        mend = "give one with --override_pathloss=FILE"
        try:
            found = self.get_reference_file(header, "pathloss")
        except OSError as err:
            raise InputError(
                f"cannot be read ({err.strerror or err}); {mend}", str(override or err.filename)
            ) from err
        except (Exception, SystemExit) as err:  # crds raises many kinds
            raise InputError(
                "the pathloss needs a reference file, and CRDS does not answer: set CRDS_PATH to a "
                f"folder for it and CRDS_SERVER_URL to https://jwst-crds.stsci.edu, or {mend}"
            ) from err
        if isinstance(found, str) and found.strip() in ("", "N/A"):
            raise InputError(f"there is no pathloss reference for these data; {mend}")
        if isinstance(found, str):
            self.references_used.append(("pathloss", found))
        return read_reference(found)

    def record(self, slit, correction):
        """Write into a slit what it was divided by; see `MSA3DCutoutStep`."""
        if self.inverse:
            slit.pathloss_uniform = slit.pathloss_point = None
            slit.pathloss_correction_type = None
        else:
            slit.pathloss_uniform = np.float32(correction.factor)
            slit.pathloss_correction_type = "UNIFORM"
        match_nans_and_flags(slit)

    def finish(self, model, slits):
        """Write into a model whether it is corrected now; see `MSA3DCutoutStep`."""
        if not (self.inverse and slits):
            super().finish(model, slits)
            return
        all_slits = [slit for slit, *_ in slits_of(model, "")]
        # what jwst rectified may be corrected without saying so
        untold = "gwa" not in frame_names(slits[0].meta.wcs) and len(slits) < len(all_slits)
        told = any(getattr(slit, "pathloss_correction_type", None) for slit in all_slits)
        model.meta.cal_step.pathloss = "COMPLETE" if told or untold else "SKIPPED"

    def finalize_result(self, result, reference_files_used):
        """Note the reference file; CRDS is not asked for its context where the file was given.

        Parameters
        ----------
        result : object
            What was made.
        reference_files_used : list of tuple
            Types and names of reference files.
        """
        if self.get_ref_override("pathloss") is None:
            super().finalize_result(result, reference_files_used)
            return
        super().finalize_result(result, [])
        if isinstance(result, JwstDataModel):
            for _, name in reference_files_used:
                result.meta.ref_file.pathloss.name = name
