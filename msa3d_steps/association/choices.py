"""The text of a run file: the choices that users are likely to change, each with its comment."""

import json
from dataclasses import dataclass, replace

from msa3d_steps.errors import InputError
from msa3d_steps.parameters import HEADER

__all__ = ["render"]


@dataclass(frozen=True)
class Parameter:
    """A parameter in the run file.

    Parameters
    ----------
    name : str
        Its name in stpipe.
    value : object
        Its value.
    comment : tuple of str
        Lines above it.
    """

    name: str
    value: object
    comment: tuple = ()


@dataclass(frozen=True)
class Node:
    """A step or pipeline in the run file.

    Parameters
    ----------
    name : str
        Its name in its pipeline.
    cls : str
        Its class, for the reader: stpipe takes the class that the pipeline defines.
    comment : tuple of str
        Lines above it.
    parameters : tuple of Parameter
        Its parameters.
    steps : tuple of Node
        Its steps.
    """

    name: str
    cls: str
    comment: tuple = ()
    parameters: tuple = ()
    steps: tuple = ()


def _skip(value, comment):
    """Make the parameter that leaves a step out."""
    return (Parameter("skip", value, (comment,)),)


CORES = Parameter(
    "maximum_cores", "half", ("processor cores: none, quarter, half, all or a number",)
)

CUBE = Node(
    "cube",
    "msa3d_steps.MSA3DCubeStep",
    ("cubes; 'strun msa3d_cube --help' lists all parameters",),
    (
        Parameter("scalexy", 0.0, ("size of a spaxel, arcsec; 0: the height of a detector pixel",)),
        Parameter("coord_system", "skyalign", ("skyalign: north up; msaalign: y along the slits",)),
        Parameter(
            "weighting",
            "drizzle",
            (
                "weight of a pixel; drizzle: equal; exptime: exposure time;",
                "ivm: inverse variance of the read noise",
            ),
        ),
    ),
)

QUICKLOOK = Node(
    "quicklook",
    "msa3d_steps.MSA3DQuicklookStep",
    ("pictures, line maps and page; 'strun msa3d_quicklook --help' lists all parameters",),
    (Parameter("redshift", None, ("a number, or a table of source and redshift; null: found",)),),
)

CORRECTIONS = (
    Node(
        "pathloss",
        "jwst.pathloss.pathloss_step.PathLossStep",
        parameters=_skip(False, "true: leave what a uniformly filled slit loses to stage 3"),
    ),
    Node(
        "barshadow",
        "jwst.barshadow.barshadow_step.BarShadowStep",
        parameters=_skip(False, "true: leave in the shadows of the bars between shutters"),
    ),
)


def _flicker_noise(skip, comment):
    """Make the step that takes 1/f noise out; it can be in stage 1 or stage 2."""
    cls = "jwst.clean_flicker_noise.clean_flicker_noise_step.CleanFlickerNoiseStep"
    return Node("clean_flicker_noise", cls, parameters=_skip(skip, comment))


def _spec2(*steps):
    """Make stage 2."""
    return Node(
        "spec2",
        "msa3d_steps.MSA3DSpec2Pipeline",
        ("stage 2; 'strun msa3d_spec2 --help' lists all steps and parameters",),
        steps=(*steps, *CORRECTIONS),
    )


SNOWBALLS = Parameter(
    "expand_large_events", True, ("flag the halos of large cosmic rays (snowballs), too",)
)

DETECTOR1 = Node(
    "detector1",
    "jwst.pipeline.Detector1Pipeline",
    ("stage 1; 'strun calwebb_detector1 --help' lists all steps and parameters",),
    steps=(
        Node("jump", "jwst.jump.jump_step.JumpStep", parameters=(SNOWBALLS,)),
        _flicker_noise(False, "true: leave 1/f noise in"),
    ),
)

PIPELINES = {
    "uncal": Node(
        "msa3d",
        "msa3d_steps.MSA3DPipeline",
        parameters=(CORES,),
        steps=(DETECTOR1, _spec2(), CUBE, QUICKLOOK),
    ),
    "rate": Node(
        "msa3d",
        "msa3d_steps.MSA3DPipeline",
        parameters=(CORES,),
        steps=(
            _spec2(_flicker_noise(True, "false: take 1/f noise out, if stage 1 has not")),
            CUBE,
            QUICKLOOK,
        ),
    ),
    "cal": Node(
        "msa3d_spec3",
        "msa3d_steps.MSA3DSpec3Pipeline",
        parameters=(CORES,),
        steps=(CUBE, QUICKLOOK),
    ),
}
"""The pipeline that starts from a kind of files."""

NOT_TEXT = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")
"""Words that YAML 1.1 takes for something else than text."""


def render(kind, title, inputs, sources=(), known=(), parameters=None):
    """Write the text of a run file.

    Parameters
    ----------
    kind : str
        What it starts from: ``uncal``, ``rate`` or ``cal``.
    title : str
        What it is for, in a line.
    inputs : dict
        Members, MSA metafile, product name.
    sources : sequence of str
        Sources that are wanted; all if empty.
    known : sequence of str
        Those that there are, as far as that is known.
    parameters : dict, optional
        Values by ``step.parameter``, or by ``parameter`` for the pipeline itself.

    Returns
    -------
    str
        A valid ASDF file.

    Raises
    ------
    InputError
        Where there is no such step.
    """
    root = PIPELINES[kind]
    for path, value in (parameters or {}).items():
        root = _with(root, path, value)
    lines = [
        f"# {title}",
        "# The command line overrides this file, and this file overrides the defaults.",
        f"class: {root.cls}",
        f"name: {root.name}",
        "parameters:",
        *_sources(sources, known),
        *_parameters(root.parameters, "  "),
    ]
    lines += [*_steps(root.steps, ""), *_inputs(inputs)]
    return HEADER + "\n".join(lines) + "\n...\n"


def _with(root, path, value):
    """Set one parameter in the step of that name."""
    step, _, name = path.rpartition(".")
    if step in ("", root.name):
        return _set(root, name, value)
    changed = _descend(root, step.rpartition(".")[2], name, value)
    if changed is None:
        raise InputError(f"there is no step {step} to set {name} of in the run file")
    return changed


def _descend(node, step, name, value):
    """Set a parameter of a step further down; None where there is no such step."""
    for i, child in enumerate(node.steps):
        new = _set(child, name, value) if child.name == step else None
        new = new or _descend(child, step, name, value)
        if new is not None:
            return replace(node, steps=(*node.steps[:i], new, *node.steps[i + 1 :]))
    return None


def _set(node, name, value):
    """Set a parameter of a step; one that is not in the template comes last."""
    if name in [p.name for p in node.parameters]:
        new = [replace(p, value=value) if p.name == name else p for p in node.parameters]
    else:
        new = [*node.parameters, Parameter(name, value)]
    return replace(node, parameters=tuple(new))


def _sources(sources, known):
    """Write the sources that are wanted, or how to choose some."""
    of = f"all {len(known)}" if len(known) > 1 else "all"
    yield f"  # sources to make cubes of, by number, name or label; {of} if not given"
    if sources:
        yield f"  sources: {_flow(sources)}"
    else:
        yield f"  # sources: {_flow(list(known[:2]) or ['1', '2'])}"


def _parameters(parameters, indent):
    """Write parameters with their comments."""
    for parameter in parameters:
        yield from (f"{indent}# {line}" for line in parameter.comment)
        yield f"{indent}{parameter.name}: {_flow(parameter.value)}"


def _steps(steps, indent):
    """Write steps within their pipeline."""
    if steps:
        yield f"{indent}steps:"
    for step in steps:
        yield from (f"{indent}# {line}" for line in step.comment)
        yield f"{indent}- class: {step.cls}"
        inner = f"{indent}  "
        yield f"{inner}name: {step.name}"
        if step.parameters:
            yield f"{inner}parameters:"
            yield from _parameters(step.parameters, f"{inner}  ")
        else:
            yield f"{inner}parameters: {{}}"
        yield from _steps(step.steps, inner)


def _inputs(inputs):
    """Write what to run on."""
    yield "# what to run on; relative paths are relative to this file"
    yield "inputs:"
    for name, value in inputs.items():
        if name == "product_name":
            yield "  # names of the cubes; {source_id} becomes s000000001 and so on"
        yield f"  {name}: {_flow(value)}"


def _flow(value):
    """Write a value as YAML: JSON is YAML, but plain words look better without quotes."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(v) for v in value) + "]"
    if isinstance(value, str) and value.replace("_", "").isalpha():
        return json.dumps(value) if value.lower() in NOT_TEXT else value
    return json.dumps(value, ensure_ascii=False, default=str)
