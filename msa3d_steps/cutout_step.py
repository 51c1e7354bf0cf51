"""What the steps share that stand between calibrated exposures and cubes."""

from dataclasses import replace
from pathlib import Path

from jwst.datamodels import ModelContainer, SourceModelContainer
from stdatamodels.jwst.datamodels import JwstDataModel

from msa3d_steps.cube.correction import correct_slit, corrected_source
from msa3d_steps.cube.inputs import Selection, find_members
from msa3d_steps.cube.slits import NotSlitsError, open_model, slits_of, source_of_slit
from msa3d_steps.cube.sources import Source, cutout_from_slit, tell_apart
from msa3d_steps.errors import InputError
from msa3d_steps.framework import MSA3DStep
from msa3d_steps.progress import track

__all__ = ["MSA3DCutoutStep"]


class MSA3DCutoutStep(MSA3DStep):
    """Base of the steps that correct cutouts, source by source.

    A step of this kind says what is to be done to the cutouts of a source (`corrections`). It is
    done to plain cutouts, as our pipelines have them, or to the slits of models.
    """

    changes_data = True

    status = None
    """Name of the step in ``meta.cal_step``."""

    sees_blanks = False
    """Whether it measures in background slits, too."""

    companions = ()
    """Other sources of the run, for a step that is given one source of it."""

    references_used = ()
    """Types and names of the reference files that it has read."""

    outcome = "COMPLETE"
    """What ``meta.cal_step`` says where cutouts were corrected."""

    spec = """
    sources = force_list(default=None) # Sources to work on, by label (s000000933), number or name; all if not given
    output_use_model = boolean(default=True) # Use the file names in the models
    """  # noqa: E501

    def corrections(self, source):
        """Say what is to be done to the cutouts of a source.

        Parameters
        ----------
        source : Source
            The source. It must not be changed.

        Returns
        -------
        list of ~msa3d_steps.cube.correction.Correction or None
            One for each cutout, in their order.

        Raises
        ------
        InputError
            Where nothing can be done for this source.
        """
        raise NotImplementedError

    def is_needed(self, source):
        """Tell whether there is anything to do for a source of a pipeline.

        Parameters
        ----------
        source : Source
            The source.

        Returns
        -------
        bool
            Whether there is.
        """
        return True

    def begin(self):
        """Prepare for a run, before anything is read.

        Raises
        ------
        InputError
            Where parameters make no sense.
        """

    def see(self, sources):
        """Look at all sources of a run before the first one is worked on.

        Parameters
        ----------
        sources : list of Source
            The sources.
        """

    def note(self, slit, cutout):
        """Look at the slit of a model beside the cutout that was made of it.

        Parameters
        ----------
        slit : node
            The slit. It must not be changed.
        cutout : ~msa3d_steps.cube.sources.Cutout
            The cutout.
        """

    def record(self, slit, correction):
        """Write more into the slit of a model than the corrected arrays.

        Parameters
        ----------
        slit : node
            The slit; it is corrected.
        correction : Correction
            What was done to it.
        """

    def finish(self, model, slits):
        """Write into a model whether it was corrected.

        Parameters
        ----------
        model : JwstDataModel
            The model.
        slits : list of node
            Its slits that were corrected.
        """
        status = "COMPLETE" if slits else "SKIPPED"
        if getattr(model.meta.cal_step, self.status, None) != "COMPLETE":
            setattr(model.meta.cal_step, self.status, status)

    def process(self, inputs):
        """Correct cutouts.

        Parameters
        ----------
        inputs : Source, str, pathlib.Path, dict, list, ModelContainer, ModelLibrary or JwstDataModel
            The cutouts of a source, association, exposures (cal or s2d) or their models.

        Returns
        -------
        Source, JwstDataModel, ModelContainer or ModelLibrary
            The same kind with corrected cutouts; a container for an association or a list. The
            input is not changed, but for models that a pipeline hands from step to step.

        Raises
        ------
        InputError
            Where nothing could be done.
        """  # noqa: E501
        self.begin()
        if isinstance(inputs, Source):
            self.see([inputs, *self.companions])
            return corrected_source(inputs, self.corrections(inputs), self.status, self.outcome)
        if hasattr(inputs, "borrow"):
            return self._process_library(inputs)
        models = self._open(inputs)
        self._process_models(models)
        return models

    def _process_library(self, library):
        with library:
            models = [library.borrow(index) for index in range(len(library))]
            try:
                self._process_models(models)
            finally:
                for index, model in enumerate(models):
                    library.shelve(model, index)
        return library

    def _open(self, inputs):
        """Open what was given; what is the user's is copied."""
        if isinstance(inputs, SourceModelContainer) and not self.is_in_pipeline():
            return SourceModelContainer(inputs.multiexposure.copy())  # keeps the two together
        if isinstance(inputs, (JwstDataModel, ModelContainer)):
            return self.prepare_output(inputs, make_copy=not self.is_in_pipeline())
        items = find_members(inputs).items
        container = ModelContainer()
        for item in track(items, "exposures"):
            try:
                container.append(self.prepare_output(item) if _is_model(item) else open_model(item))
            except InputError as err:
                self.complain(err.problem)
        if not len(container):
            raise InputError("; ".join(map(str, self.problems)))
        is_one = isinstance(inputs, (str, Path)) and len(items) == 1 and items[0] == Path(inputs)
        if is_one and self.output_file:
            self.output_use_model = False
        self._refuse_to_replace([item for item in items if not _is_model(item)], container)
        return container[0] if is_one else container

    def _refuse_to_replace(self, paths, models):
        """Make sure that no product will take the place of an input."""
        if not (self.save_results or self.output_file):
            return
        for model in models:
            name = model.meta.filename if self.output_use_model else self.output_file
            product = Path(self.make_output_path(basepath=name))
            for path in paths:
                if product.exists() and product.samefile(path):
                    raise InputError(
                        "would be replaced by its own product; choose another --suffix or "
                        "--output_dir", str(path)
                    )  # fmt: skip

    def _process_models(self, models):
        """Correct the slits of models in place."""
        models = [models] if _is_model(models) else list(models)
        slits, sources = self._sort(models)
        selection = Selection(tuple(self.sources or ()), background=True, virtual=True)
        self.problems.extend(selection.not_among(sources.values()))
        self.see(list(sources.values()))
        done = {}
        for key, source in track(sorted(sources.items()), "sources"):
            if not selection.wants(source) or not source.cutouts:
                continue
            try:
                corrections = self.corrections(source)
            except InputError as err:
                problem = err.problem
                self.complain(replace(problem, message=f"source {source.title}: {problem.message}"))
                continue
            for (number, slit), correction in zip(slits[key], corrections, strict=True):
                if correction is not None:
                    correct_slit(slit, correction)
                    self.record(slit, correction)
                    if "cal_step" in slit.meta.instance:  # it has the metadata of its exposure
                        setattr(slit.meta.cal_step, self.status, self.outcome)
                    done.setdefault(number, []).append(slit)
        if not done and self.problems:
            raise InputError("; ".join(map(str, self.problems)))
        for number, model in enumerate(models):
            self.finish(model, done.get(number, []))

    def _sort(self, models):
        """Sort slits by source and disperser; one that cannot be used is noted, and stays."""
        slits, sources = {}, {}
        for number, model in enumerate(models):
            name = model.meta.filename or f"model {number + 1}"
            try:
                found = list(slits_of(model, name))
            except NotSlitsError as err:
                self.complain(err.problem)
                continue
            for slit, meta, header in found:
                source = source_of_slit(slit, meta)
                source = sources.setdefault(source.key, source)
                try:
                    # a source-based model has the slits of many files
                    cutout = cutout_from_slit(slit, meta, getattr(meta, "filename", None) or name)
                except InputError as err:
                    self.complain(err.problem)
                    continue
                self.note(slit, cutout)
                source.cutouts.append(cutout)
                source.headers.append(header)
                slits.setdefault(source.key, []).append((number, slit))
        tell_apart(sources.values())
        return slits, sources


def _is_model(item):
    return isinstance(item, JwstDataModel)
