"""What all our steps share on the side of stpipe."""

import inspect
import logging
import os
from pathlib import Path

from jwst.stpipe import Step as JwstStep
from stpipe import Step as StpipeStep
from stpipe import config_parser

from msa3d_steps.datamodels.runfile import read_run_inputs
from msa3d_steps.errors import IncompleteError, InputError

__all__ = ["MSA3DStep"]

log = logging.getLogger(__name__)


class MSA3DStep(JwstStep):
    """Base class of our steps.

    It asks CRDS for no parameters, so that a step without reference files needs neither a server
    nor an environment variable; takes its inputs from a run file where none are named; and as a
    hook leaves the data of the step that it hangs on as they are.
    """

    @classmethod
    def get_config_from_reference(cls, dataset, disable=None, crds_observatory=None):  # noqa: ARG003
        """Take no parameters from CRDS.

        Parameters
        ----------
        dataset, disable, crds_observatory : object
            Not used.

        Returns
        -------
        configobj.ConfigObj
            Nothing.
        """
        return config_parser.ConfigObj()

    @classmethod
    def build_config(cls, input, **kwargs):  # noqa: A002, ARG003 - stpipe's signature
        """Build the configuration from a parameter file and keywords alone.

        Parameters
        ----------
        input : object
            Not used: it would only serve to ask CRDS.
        **kwargs
            Parameters, and ``config_file``.

        Returns
        -------
        configobj.ConfigObj, str
            Configuration and path of the parameter file.
        """
        return super().build_config(None, **kwargs)

    @staticmethod
    def get_stpipe_loggers():
        """Name the loggers whose messages are shown.

        Returns
        -------
        tuple of str
            jwst's and ours.
        """
        return (*JwstStep.get_stpipe_loggers(), "msa3d_steps")

    def run(self, *args):
        """Run the step.

        Parameters
        ----------
        *args
            The input; none where a run file has it.

        Returns
        -------
        object
            The result; None as a hook, so that the step it hangs on keeps its own.

        Raises
        ------
        InputError
            Where nothing could be made.
        IncompleteError
            Where a part of the result is missing; it carries what was made.
        """
        self.problems = []
        caller = _hooked_on(self)
        if caller is not None:
            self.parent = self.parent or caller
            self.save_results = True
            try:
                super().run(*args)
            except InputError as err:
                log.error("%s", err)  # noqa: TRY400 - the pipeline goes on
            return None
        if not args:
            args = (self._inputs_of_run_file(),)
            self.save_results = True
        result = super().run(*args)
        if self.problems and self.parent is None:
            raise IncompleteError(self.problems, result)
        return result

    def _inputs_of_run_file(self):
        if self.config_file is None:
            raise InputError(
                "nothing to work on: name an association or an exposure, or a run file with inputs"
            )
        inputs = read_run_inputs(self.config_file)
        if inputs.product_name and self.output_file is None:
            self.output_file = inputs.product_name + self.output_ext
        return inputs.members

    def check_output_folder(self):
        """Make sure, before the work, that products can be written.

        Raises
        ------
        InputError
            Where the folder cannot be made or written.
        """
        folder = Path(os.path.expandvars(self.search_attr("output_dir", "") or ".")).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK | os.X_OK)
        except OSError as err:
            raise InputError(
                f"the output folder {folder} cannot be made ({err.strerror}); "
                "choose another with --output_dir"
            ) from err
        if not writable:
            raise InputError(
                f"the output folder {folder} is not writable; choose another with --output_dir"
            )


def _hooked_on(step):
    """Find the step that runs this one as a hook, None where it is no hook.

    stpipe makes a hook given as a class a child of that step, but one given as an instance or
    with parameters (``"msa3d_steps.MSA3DCubeStep(scalexy=0.05)"``) has no parent: there the
    calling frame is the only trace.
    """
    parent = step.parent
    if parent is not None:
        hooks = [*getattr(parent, "_pre_hooks", []), *getattr(parent, "_post_hooks", [])]
        return parent if any(hook is step for hook in hooks) else None
    frame = inspect.currentframe().f_back.f_back
    while frame is not None and frame.f_code is not StpipeStep.run.__code__:
        frame = frame.f_back if frame.f_code.co_name == "run" else None
    if frame is None:
        return None
    caller = frame.f_locals.get("self")
    is_hook = step in (frame.f_locals.get("pre_hook"), frame.f_locals.get("post_hook"))
    return caller if is_hook and caller is not step else None
