"""Parameters of steps as plain values that can be sent to other processes."""

import yaml
from stpipe import crds_client

from msa3d_steps.errors import InputError
from msa3d_steps.whole import replace_whole

__all__ = [
    "HEADER", "changed_parameters", "command_of", "flat_parameters", "parameters_of",
    "what_matters", "write_parameters",
]  # fmt: skip

HEADER = """\
#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
"""

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
    for name, given in _overrides(step):
        if not isinstance(given, str):
            raise InputError(f"{name} of {step.name} is a model; give the path of its file")
        parameters[name] = given
    return parameters


def _overrides(step):
    """List the reference files that are given to a step, and their parameters."""
    for reference in step.reference_file_types:
        name = crds_client.get_override_name(reference)
        given = getattr(step, name, None)
        if given is not None:
            yield name, given


def command_of(step):
    """Give the parameters of a step, and of those in it, as in a parameter file.

    Parameters
    ----------
    step : `~stpipe.Step`
        A step or pipeline.

    Returns
    -------
    dict
        ``class``, ``name``, ``parameters`` and ``steps``, plain values. What is None (its own
        default everywhere) and what says where products go is left out.
    """
    parameters = step.get_pars() | dict(_overrides(step))
    parameters.pop("steps", None)
    tree = {
        "class": _class_name(step),
        "name": step.class_alias or step.name,
        "parameters": _plain(
            {k: v for k, v in parameters.items() if v is not None and k not in PLACES}
        ),
    }
    if hasattr(step, "step_defs"):
        tree["steps"] = [
            {**command_of(getattr(step, name)), "name": name} for name in step.step_defs
        ]
    return tree


def flat_parameters(command, above=""):
    """List the steps of a command and their parameters.

    Parameters
    ----------
    command : dict
        What `command_of` gives.
    above : str
        What the names of its steps begin with.

    Yields
    ------
    tuple of (str, dict)
        Name of a step, as in ``spec2.barshadow``, and its parameters; the command itself comes
        first, with its own name.
    """
    if command.get("parameters"):
        yield above or command.get("name", "step"), dict(command["parameters"])
    for step in command.get("steps", []):
        yield from flat_parameters(step, f"{above}.{step['name']}" if above else step["name"])


def changed_parameters(step):
    """List the parameters of a step that are not as they are by default.

    Parameters
    ----------
    step : `~stpipe.Step`
        A step or pipeline.

    Returns
    -------
    dict
        Names of parameters by the names that `flat_parameters` gives to steps.
    """
    usual = dict(flat_parameters(command_of(type(step)())))
    changed = {}
    for name, own in flat_parameters(command_of(step)):
        differing = [n for n, value in own.items() if value != usual.get(name, {}).get(n)]
        if differing:
            changed[name] = differing
    return changed


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


def write_parameters(path, step):
    """Write all parameters of a pipeline as a parameter file for it.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    step : `~stpipe.Step`
        The pipeline. Hooks that are objects are written by their text.
    """
    with replace_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(HEADER)
        tree = _tree(step, step.class_alias, parameters_of(step))
        yaml.dump(_plain(tree), file, Dumper=yaml.SafeDumper, sort_keys=False)
        file.write("...\n")


def _tree(step, name, parameters):
    """Arrange the parameters of a step as in a parameter file."""
    steps = parameters.pop("steps", {})
    tree = {"class": _class_name(step), "name": name, "parameters": parameters}
    if steps:
        tree["steps"] = [_tree(getattr(step, n), n, own) for n, own in steps.items()]
    return tree


def _class_name(step):
    """Name the class of a step as it is imported; ours are all in the package itself."""
    cls = type(step)
    module = "msa3d_steps" if cls.__module__.startswith("msa3d_steps.") else cls.__module__
    return f"{module}.{cls.__qualname__}"


def _plain(value):
    """Make text of what is neither a number, text, a list nor a dict."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, type):  # a hook
        return f"{value.__module__}.{value.__qualname__}"
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)
