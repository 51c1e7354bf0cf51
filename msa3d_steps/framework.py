"""What all our steps share on the side of stpipe."""

import inspect
import logging
import os
import re
from pathlib import Path

from jwst.stpipe import Step as JwstStep
from stpipe import Pipeline, config_parser, utilities
from stpipe import Step as StpipeStep

from msa3d_steps.datamodels.runfile import is_run_file, read_run_inputs
from msa3d_steps.errors import IncompleteError, InputError, not_written

__all__ = ["MSA3DStep"]

log = logging.getLogger(__name__)


class MSA3DStep(JwstStep):
    """Base class of our steps.

    It asks CRDS for no parameters, so that a step without reference files needs neither a server
    nor an environment variable; takes its inputs from a run file where none are named; and as a
    hook leaves the data of the step that it hangs on as they are, unless it is there to change
    them.
    """

    changes_data = False
    """Whether, as a hook, its result takes the place of the data, and its errors are the step's."""

    defaults = {}  # noqa: RUF012
    """Defaults of the steps of a pipeline that differ from the steps' own: by step.parameter."""

    @classmethod
    def load_spec_file(cls, *args, **kwargs):
        """Load the specification of the parameters, with our defaults.

        Parameters
        ----------
        *args, **kwargs
            As in stpipe.

        Returns
        -------
        configobj.ConfigObj
            The specification.
        """
        spec = super().load_spec_file(*args, **kwargs)
        _set_defaults(spec, cls.defaults)
        return spec

    @classmethod
    def get_config_from_reference(cls, dataset, disable=None, crds_observatory=None):
        """Take parameters from a run file that is given as the input, and none from CRDS.

        stpipe lets the command line and keywords override what this gives.

        Parameters
        ----------
        dataset : object
            The input.
        disable, crds_observatory : object
            Not used.

        Returns
        -------
        configobj.ConfigObj
            The parameters.

        Raises
        ------
        InputError
            Where the run file is for another step.
        """
        if not is_run_file(dataset):
            return config_parser.ConfigObj()
        config = config_parser.load_config_file(str(dataset))
        name = config.pop("class")
        config.pop("name", None)
        if utilities.import_class(utilities.resolve_step_class_alias(name), StpipeStep) is not cls:
            error = InputError(
                f"is a run file for {name}, not for {cls.class_alias}; run it with "
                f"'strun {Path(dataset).name}'",
                str(dataset),
            )
            log.error("%s", error)  # strun shows no error of this stage
            raise error
        return config

    @classmethod
    def _get_config_from_parameters(cls, crds_parameters, crds_observatory):
        """Take no parameters from CRDS for a member of a pipeline of others, either."""
        return config_parser.ConfigObj()

    @classmethod
    def build_config(cls, input, **kwargs):  # noqa: A002 - stpipe's signature
        """Build the configuration from a run file, a parameter file and keywords.

        Parameters
        ----------
        input : object
            The input of the step.
        **kwargs
            Parameters, and ``config_file``.

        Returns
        -------
        configobj.ConfigObj, str
            Configuration and path of the parameter file.
        """
        config = cls.get_config_from_reference(input)
        given, config_file = super().build_config(None, **kwargs)
        config_parser.merge_config(config, given)
        return config, config_file

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
            The result; None as a hook that does not change data, so that the step it hangs on
            keeps its own.

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
            if self.changes_data:
                return super().run(*args)
            self.save_results = True
            try:
                super().run(*args)
            except InputError as err:  # the pipeline goes on; without problems, none was wanted
                log.log(logging.ERROR if self.problems else logging.INFO, "%s", err)
            return None
        if len(args) > 1:  # several files on the command line
            args = (list(args),)
        if not args or is_run_file(args[0]):
            args = (self._inputs_of_run_file(args[0] if args else self.config_file),)
        if self.save_results or self.output_dir:
            self._check_output_folder()
        result = super().run(*args)
        if self.problems and self.parent is None:
            raise IncompleteError(self.problems, result)
        return result

    def _inputs_of_run_file(self, path):
        """Take inputs and product name from a run file; its products are saved."""
        if path is None:
            raise InputError(
                "nothing to work on: name an association or an exposure, or a run file with inputs"
            )
        inputs = read_run_inputs(path)
        self.save_results = True
        if inputs.product_name and self.output_file is None:
            self.output_file = inputs.product_name + self.output_ext
        if inputs.msa_metafile and getattr(self, "msa_metafile", "") is None:
            self.msa_metafile = str(inputs.msa_metafile)
        return inputs.members

    def save_model(self, model, *args, **kwargs):
        """Save a product; one that cannot be written is noted and does not stop the others.

        Parameters
        ----------
        model : JwstDataModel, ModelContainer or ModelLibrary
            The product.
        *args, **kwargs
            As for jwst's steps.

        Returns
        -------
        str or list of str or None
            Paths of what was written.
        """
        try:
            return super().save_model(model, *args, **kwargs)
        except OSError as err:
            name = getattr(getattr(model, "meta", None), "filename", None) or "the product"
            self.complain(not_written(name, err))
            return None

    def complain(self, problem):
        """Note something that went wrong and does not stop the work.

        Parameters
        ----------
        problem : Problem
            What went wrong.
        """
        log.error("%s", problem)
        self.problems.append(problem)

    def output_folder(self):
        """Give the folder of the products.

        Returns
        -------
        pathlib.Path
            ``output_dir`` of the step or of those that it is in; else the working directory.
        """
        named = os.path.expandvars(self.search_attr("output_dir", "") or ".")
        return Path(named).expanduser()

    def is_in_pipeline(self):
        """Tell whether a pipeline hands over the data, which then are nobody else's.

        Returns
        -------
        bool
            Not so for a hook of a step that stands alone.
        """
        ancestor = self.parent
        while ancestor is not None and not isinstance(ancestor, Pipeline):
            ancestor = ancestor.parent
        return ancestor is not None

    def outermost(self):
        """Give the pipeline or step that was called: this one, or the outermost that it is in.

        Returns
        -------
        `~stpipe.Step`
            The step.
        """
        step = self
        while step.parent is not None:
            step = step.parent
        return step

    def asked_stem(self):
        """Give the beginning of the names of products that the user asks for, None for none.

        Returns
        -------
        str or None
            ``output_file`` of the step or of those that it is in, without suffix.
        """
        asked = self.search_attr("output_file")
        return self.remove_suffix(Path(asked).stem)[0] if asked else None

    def _check_output_folder(self):
        """Make sure, before the work, that products can be written."""
        folder = self.output_folder()
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


def _set_defaults(spec, defaults):
    """Change defaults in the specification of a pipeline.

    Parameters
    ----------
    spec : configobj.ConfigObj
        Specification with a section ``steps``; changed in place.
    defaults : dict
        Values by ``step.parameter``; ``step.step.parameter`` in a pipeline of pipelines.

    Raises
    ------
    KeyError
        Where there is no such step or parameter.
    """
    for path, value in defaults.items():
        *steps, name = path.split(".")
        section = spec
        for step in steps:
            section = section["steps"][step]
        changed, found = re.subn(
            r"default\s*=\s*('[^']*'|[^,)]*)", f"default={value!r}", section[name]
        )
        if not found:
            raise KeyError(f"{path} has no default")
        section[name] = changed


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
