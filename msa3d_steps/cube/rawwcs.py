"""The WCS of a slit out of an ASDF tree that was not converted.

Frames, bounding boxes and inverse transforms are not looked at. The leaves that make up most of a
NIRSpec WCS become transforms directly, any other by way of the astropy model that asdf makes of it.
"""

from dataclasses import dataclass

from astropy.modeling import Model

from msa3d_steps.cube import transforms
from msa3d_steps.cube.rawfits import UnusualFileError

__all__ = ["RawStep", "RawWCS", "wcs_from_node"]

MOST_MADE = 5000
"""Number of transforms that are kept for other files; a table is 16 kB."""

OPERATORS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**"}


_made = {}


@dataclass(frozen=True)
class RawStep:
    """One step of a WCS.

    Parameters
    ----------
    frame : str
        Name of the frame of its inputs.
    transform : ~msa3d_steps.cube.transforms.Transform or None
        The way to the next frame; None in the last step.
    """

    frame: str
    transform: transforms.Transform | None


@dataclass(frozen=True)
class RawWCS:
    """What of a `~gwcs.wcs.WCS` carries coordinates from frame to frame.

    Parameters
    ----------
    pipeline : list of RawStep
        Its steps.
    """

    pipeline: list


def wcs_from_node(node, known):
    """Make the WCS of a node ``gwcs/wcs``.

    Parameters
    ----------
    node : ~msa3d_steps.cube.rawasdf.Node
        The node.
    known : dict
        Transforms that were made of nodes of this tree, by the nodes; is added to. Slits of an
        exposure share most of the instrument.

    Returns
    -------
    RawWCS
        The WCS.

    Raises
    ------
    UnusualFileError
        Where it is not as gwcs writes it.
    """
    steps = node.get("steps")
    if node.kind != "gwcs/wcs" or steps is None or not isinstance(steps.children, list):
        raise UnusualFileError("an unusual WCS")
    return RawWCS([_step(step, known) for step in steps.children])


def _step(node, known):
    frame, transform = node.get("frame"), node.get("transform")
    if node.kind != "gwcs/step" or frame is None:
        raise UnusualFileError("an unusual step of a WCS")
    if transform is not None and transform.tag is None and transform.value() is None:
        transform = None
    name = frame.get("name") or frame
    return RawStep(str(name.value()), transform and _kept(transform, known))


def _kept(node, known):
    """Make the transform of a node, unless there was the same in another slit or file."""
    digest = node.digest
    if digest not in _made:
        transform = _transform(node, known)
        if len(_made) >= MOST_MADE:
            _made.clear()
        _made[digest] = transform
    return _made[digest]


def _transform(node, known):
    """Make the transform of a node; aliases of one node share it."""
    if node not in known:
        known[node] = _joined(node, known) or _leaf(node)
    return known[node]


def _joined(node, known):
    """Make the transform of a compound; None of a leaf."""
    kind = node.kind.removeprefix("transform/")
    if kind not in OPERATORS and kind not in ("compose", "concatenate", "fix_inputs"):
        return None
    left, right = node.get("forward").children
    if kind == "fix_inputs":
        names, values = right.get("keys").value(), right.get("values").value()
        inputs = left.get("inputs").value()
        if not all(type(value) in (int, float) for value in values):
            raise UnusualFileError("inputs are fixed to no numbers")
        numbers = [inputs.index(n) if isinstance(n, str) else n for n in names]
        return transforms.fixed(_transform(left, known), dict(zip(numbers, values, strict=True)))
    parts = _transform(left, known), _transform(right, known)
    if kind == "compose":
        return transforms.chain(*parts)
    if kind == "concatenate":
        return transforms.beside(*parts)
    return transforms.arithmetic(OPERATORS[kind], *parts)


def _leaf(node):
    make = LEAVES.get(node.kind)
    made = make(node) if make else None
    if made is not None:
        return made
    model = node.converted(leave_out=("inverse", "bounding_box"))
    if not isinstance(model, Model):
        raise UnusualFileError(f"asdf makes no model of {node.tag}")
    return transforms.from_model(model)


def _identity(node):
    number = node.get("n_dims")
    return transforms.identity(number.value() if number else 1)


def _remapped(node):
    number = node.get("n_inputs")
    return transforms.remapped(node.get("mapping").value(), number and number.value())


def _constant(node):
    dimensions = node.get("dimensions")
    if dimensions is None or dimensions.value() != 1:
        return None
    return transforms.constant(node.get("value").number())


def _affine(node):
    matrix, translation = node.get("matrix").array(), node.get("translation").array()
    if matrix.shape != (2, 2) or translation.shape != (2,):
        return None
    return transforms.affine(matrix.astype(float), translation.astype(float))


def _polynomial(node):
    coefficients = node.get("coefficients").array().astype(float)
    if coefficients.ndim != 2:
        return None
    domain, window = (
        [tuple(_plain(pair)) for pair in _plain(node.get(key))] if node.get(key) else None
        for key in ("domain", "window")
    )
    default = [(-1, 1)] * 2
    if (domain or default) != (window or default):
        return None
    return transforms.polynomial(coefficients)


def _plain(node):
    """Children of a sequence, or the value of a flow sequence."""
    return node if isinstance(node, (list, tuple)) else node.children or node.value()


def _table(node):
    points, values = node.get("points").children, node.get("lookup_table").array()
    fill, method, bounds = (node.get(key) for key in ("fill_value", "method", "bounds_error"))
    if len(points) != 1 or values.ndim != 1 or fill is None or not (method and bounds):
        return None
    points, fill = points[0].array(), fill.number()
    if not transforms.is_plain_table(points, method.value(), bounds.value(), fill):
        return None
    return transforms.table(points, values, fill)


def _logical(node):
    condition, limit, value = (node.get(key) for key in ("condition", "compareto", "value"))
    if limit.tag or value.tag:
        return None
    return transforms.substitute(condition.value(), limit.number(), value.number())


LEAVES = {
    "transform/identity": _identity,
    "transform/remap_axes": _remapped,
    "transform/shift": lambda node: transforms.shift(node.get("offset").number()),
    "transform/scale": lambda node: transforms.scale(node.get("factor").number()),
    "transform/constant": _constant,
    "transform/affine": _affine,
    "transform/polynomial": _polynomial,
    "transform/tabular": _table,
    "jwst_pipeline/logical": _logical,
}
