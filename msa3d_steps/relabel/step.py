"""The repair of the MSA metafile as an stpipe step."""

import logging
import os
from pathlib import Path

from stdatamodels.jwst.datamodels import JwstDataModel

from msa3d_steps.errors import InputError
from msa3d_steps.framework import MSA3DStep
from msa3d_steps.relabel.metafile import repair_file

__all__ = ["MSA3DRelabelStep"]

log = logging.getLogger(__name__)


class MSA3DRelabelStep(MSA3DStep):
    """Point an exposure to a repaired copy of its MSA metafile.

    Every shutter of a slitlet belongs to the galaxy that the slitlet was opened for, at every
    dither point. As a pre-hook of ``assign_wcs`` it makes calwebb_spec2 use the copy.
    """

    class_alias = "msa3d_relabel"
    changes_data = True

    spec = """
    msa_metafile = string(default=None) # MSA metafile to use instead of the one the exposure names
    suffix = string(default='relabel') # Suffix of the exposure where it is saved
    """

    def process(self, exposure):
        """Repair the metafile of an exposure.

        The copy is written to the output folder, or to the working directory if none is given.

        Parameters
        ----------
        exposure : str, pathlib.Path or JwstDataModel
            The exposure (rate).

        Returns
        -------
        JwstDataModel
            The exposure, which names the copy with its full path. The input is not changed.

        Raises
        ------
        InputError
            If the metafile is not found or is none, or does not know the exposure.
        """
        if isinstance(exposure, list | tuple) and len(exposure) == 1:  # of a run file
            exposure = exposure[0]
        name = _name(exposure)
        if not isinstance(exposure, str | Path | JwstDataModel) or name.endswith(".json"):
            raise InputError("one exposure at a time: give the path or the model of a rate", name)
        if isinstance(exposure, str | Path) and not Path(exposure).is_file():
            raise InputError("is not there; give the path of a rate exposure", name)
        model = self.prepare_output(exposure, make_copy=self._must_copy(exposure))
        if model.meta.exposure.type != "NRS_MSASPEC":
            log.info("%s is no exposure through the MSA; it stays as it is", name)
            return model
        metadata_id, index, number = _place_in_programme(model, name)
        metafile = self._find_metafile(model, exposure, name)
        self._check_output_folder()
        try:
            report = repair_file(metafile, self.output_folder(), {metadata_id: (index, number)})
        except InputError as err:
            raise InputError(f"its MSA metafile {err.problem}", name) from err
        if self.search_attr("output_file") is None:
            self.output_use_model = True
        self._tell(report, metadata_id)
        model.meta.instrument.msa_metadata_file = str(report.path.resolve())
        return model

    def _must_copy(self, exposure):
        """Tell whether a model is the user's: not where a pipeline made it."""
        return not self.is_in_pipeline() and isinstance(exposure, JwstDataModel)

    def _find_metafile(self, model, exposure, name):
        """Find the metafile where it is named, beside the exposure, or in the working directory."""
        given = model.meta.instrument.msa_metadata_file
        wanted = self.msa_metafile or (given or "").strip()
        if wanted in ("", "N/A"):
            raise InputError("names no MSA metafile (MSAMETFL); give it with --msa_metafile", name)
        wanted = Path(os.path.expandvars(wanted)).expanduser()
        beside = [] if isinstance(exposure, JwstDataModel) else [Path(exposure).parent]
        places = [*beside, Path(self.input_dir or "."), Path()]
        if self.msa_metafile or wanted.is_absolute():
            found = [wanted]
        else:
            found = [folder / wanted for folder in places]
        if not self.msa_metafile:  # of files that were moved the folder is out of date
            found += [folder / wanted.name for folder in places]
        for path in found:
            if path.is_file():
                return path
        raise InputError(
            f"its MSA metafile {wanted} is not there; download it from MAST beside the exposure, "
            "or give it with --msa_metafile", name
        )  # fmt: skip

    def _tell(self, report, metadata_id):
        """Log what was done and note the slitlets that were left out."""
        done = report.of(metadata_id)
        for repair in done:
            log.debug("%s", repair)
        for warning in report.warnings(metadata_id):
            log.warning("%s", warning)
        problems = report.problems(metadata_id)
        for problem in problems:
            log.error("%s", problem)
        self.problems.extend(problems)
        log.info(
            "%s, metadata id %d: %d slitlets repaired, %d left out; rows: %d changed, %d added; "
            "the exposure names %s", report.original.name, metadata_id,
            sum(bool(repair.changed or repair.added) for repair in done), len(problems),
            sum(repair.changed for repair in done), sum(repair.added for repair in done),
            report.path,
        )  # fmt: skip

    def save_model(self, model, *args, **kwargs):
        """Save an exposure; it names the metafile without a folder if both are in the same one.

        Parameters
        ----------
        model : JwstDataModel
            The exposure.
        *args, **kwargs
            As for jwst's steps.

        Returns
        -------
        str or list of str or None
            Paths of what was written.
        """
        metafile = Path(model.meta.instrument.msa_metadata_file or "")
        if metafile.parent != self.output_folder().resolve():
            return super().save_model(model, *args, **kwargs)
        model.meta.instrument.msa_metadata_file = metafile.name
        try:
            return super().save_model(model, *args, **kwargs)
        finally:
            model.meta.instrument.msa_metadata_file = str(metafile)


def _name(exposure):
    """Name an exposure in messages."""
    if isinstance(exposure, str | Path):
        return str(exposure)
    return str(getattr(getattr(exposure, "meta", None), "filename", None) or "the exposure")


def _place_in_programme(model, name):
    """Read metadata id, dither point and number of dither points."""
    metadata_id = model.meta.instrument.msa_metadata_id
    index = model.meta.dither.position_number
    for value, keyword in ((metadata_id, "MSAMETID"), (index, "PATT_NUM")):
        if value is None:
            raise InputError(
                f"has no keyword {keyword}, which finds its rows in the MSA metafile; download the "
                "exposure from MAST again", name
            )  # fmt: skip
    return metadata_id, index, model.meta.dither.total_points
