"""All of it: slope images and the MSA metafile in, one cube for each source out."""

import logging
from pathlib import Path

from jwst.pipeline import Detector1Pipeline
from stpipe import crds_client

from msa3d_steps.association.exposures import read_frame
from msa3d_steps.errors import InputError
from msa3d_steps.parameters import parameters_of
from msa3d_steps.pipelines.defaults import DETECTOR1
from msa3d_steps.pipelines.parts import identity
from msa3d_steps.pipelines.spec2 import MSA3DSpec2Pipeline
from msa3d_steps.pipelines.spec3 import MSA3DSpec3Pipeline

__all__ = ["MSA3DPipeline"]

log = logging.getLogger(__name__)


class MSA3DPipeline(MSA3DSpec3Pipeline):
    """Make one spectral cube for each source out of slope images, uncalibrated or calibrated ones.

    Each file is calibrated as far as it needs it (uncal: stage 1 and 2, rate: stage 2, cal: not),
    in several processes or on a Dask cluster, and the cubes are built. A run that was stopped goes
    on where it was when the same command is given again. What a stage makes is kept where that is
    asked for (--steps.spec2.save_results=true).
    """

    class_alias = "msa3d"

    defaults = {  # noqa: RUF012
        **{f"detector1.{path}": value for path, value in DETECTOR1.items()},
        **MSA3DSpec3Pipeline.defaults,
    }

    _context = None

    spec = """
    msa_metafile = string(default=None) # MSA metafile to use instead of the one that the exposures name
    """  # noqa: E501

    step_defs = {  # noqa: RUF012
        "detector1": Detector1Pipeline,
        "spec2": MSA3DSpec2Pipeline,
        **MSA3DSpec3Pipeline.step_defs,
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._examples = {}  # detector and grating by path

    def _calibration(self):
        """Give the parameters of stage 1 and stage 2."""
        spec2 = parameters_of(self.spec2)
        spec2["msa_metafile"] = self.msa_metafile or spec2["msa_metafile"]
        return parameters_of(self.detector1), spec2

    def _kind(self, path):
        """Tell what a file is, and give what else its calibration depends on."""
        try:
            frame = read_frame(path)
        except InputError:
            return ("rate",)  # stage 2 will say what is wrong with it
        if frame is None or frame.kind not in ("uncal", "rate"):
            return ("cal",)
        self._examples[path] = frame.detector, frame.grating
        metafile = self.msa_metafile or self.spec2.msa_metafile or path.parent / frame.metafile
        return frame.kind, identity(metafile), self._references()

    def _prepare(self, parts):
        """Fetch reference files: two processes that fetch the same one would spoil it."""
        done = set()
        names = logging.getLogger("stpipe.pipeline")  # of all the files; the parts' logs have them
        before = names.level
        names.setLevel(logging.WARNING)
        for part in parts:
            configuration = self._examples.get(Path(part.path))
            if part.kind == "cal" or configuration is None or configuration in done:
                continue
            if not done:
                log.info("Fetching reference files")
            done.add(configuration)
            for stage in (self.detector1, self.spec2)[part.kind != "uncal" :]:
                try:
                    stage.prefetch(part.path)
                except Exception as err:  # the exposure itself will say what is wrong
                    log.debug("%s: references cannot be fetched (%s)", part.path, err)
        names.setLevel(before)

    def _references(self):
        """Give the version of the reference files; make sure that there are any."""
        if self._context is None:
            try:
                self._context = crds_client.get_context_used("jwst")
            except (Exception, SystemExit) as err:  # crds raises many kinds
                raise InputError(
                    "calibration needs reference files, and CRDS does not answer: set CRDS_PATH to "
                    "a folder for them and CRDS_SERVER_URL to https://jwst-crds.stsci.edu"
                ) from err
        return self._context
