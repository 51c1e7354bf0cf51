"""Parameters of steps as plain values that can be sent to other processes."""

from stpipe import crds_client

from msa3d_steps.errors import InputError

__all__ = ["parameters_of", "what_matters"]

PLACES = ("input_dir", "output_dir", "output_file", "search_output_file", "msa_metafile")
"""Parameters that say where things are: files count by what they are, products by being there."""


def parameters_of(step):
    """Give what another step of the same class must be given to be like this one.

    Parameters
    ----------
    step : `~stpipe.Step`
        A step or pipeline.

    Returns
    -------
    dict
        Its parameters, reference files that are given by name among them; those of the steps of a
        pipeline under ``steps``.

    Raises
    ------
    InputError
        Where a reference is given as a model, which another process cannot have.
    """
    parameters = step.get_pars()
    if hasattr(step, "step_defs"):
        parameters["steps"] = {name: parameters_of(getattr(step, name)) for name in step.step_defs}
        return parameters
    for reference in step.reference_file_types:
        name = crds_client.get_override_name(reference)
        given = getattr(step, name, None)
        if given is not None and not isinstance(given, str):
            raise InputError(f"{name} of {step.name} is a model; give the path of its file")
        if given is not None:
            parameters[name] = given
    return parameters


def what_matters(parameters):
    """Leave out the parameters that do not change what is made.

    Parameters
    ----------
    parameters : dict
        What `parameters_of` gives.

    Returns
    -------
    dict
        Those that do, of the steps of a pipeline, too.
    """
    kept = {name: value for name, value in parameters.items() if name not in PLACES}
    if "steps" in kept:
        kept["steps"] = {name: what_matters(step) for name, step in kept["steps"].items()}
    return kept
