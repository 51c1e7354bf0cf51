"""Transforms of coordinates as plain functions of arrays.

A NIRSpec WCS is a tree of about 120 small astropy models. Calling it costs 10 to 40 ms before the
first pixel, nearly all of it spent in preparing inputs and outputs of each leaf. The leaves that
make up most of the tree are plain arithmetic and written out here; any other leaf is called as
usual.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy.modeling.core import CompoundModel
from astropy.modeling.models import (
    AffineTransformation2D,
    Const1D,
    Identity,
    Mapping,
    Polynomial2D,
    Rotation2D,
    RotationSequence3D,
    Scale,
    Shift,
    Tabular1D,
)
from gwcs.geometry import CartesianToSpherical, SphericalToCartesian
from stdatamodels.jwst.transforms.models import (
    DirCos2Unitless,
    Logical,
    Rotation3DToGWA,
    Unitless2DirCos,
)

__all__ = ["ARITHMETIC", "Transform", "frame_names", "from_model", "transform_between"]

ARITHMETIC = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
}

WITHOUT_PARAMETERS = (Unitless2DirCos, DirCos2Unitless, SphericalToCartesian, CartesianToSpherical)


@dataclass(frozen=True)
class Transform:
    """A function of coordinates.

    Parameters
    ----------
    n_inputs : int
        Number of its inputs.
    apply : callable
        ``f(*inputs) -> tuple of numpy.ndarray``; the inputs are float arrays of one shape.
    """

    n_inputs: int
    apply: Callable

    def __call__(self, *inputs):
        """Apply it to arrays."""
        return self.apply(*inputs)


# --- the leaves


def identity(number=1):
    """Give back a number of inputs as they are."""
    return Transform(number, lambda *inputs: inputs)


def remapped(mapping, n_inputs=None):
    """Give inputs in another order, some of them repeated or left out."""
    mapping = tuple(mapping)
    return Transform(
        n_inputs or max(mapping) + 1, lambda *inputs: tuple(inputs[i] for i in mapping)
    )


def shift(offset):
    """Add a number."""
    return Transform(1, lambda x: (x + offset,))


def scale(factor):
    """Multiply with a number."""
    return Transform(1, lambda x: (x * factor,))


def constant(value):
    """Give a number for any input."""
    return Transform(1, lambda x: (np.full_like(x, value),))


def affine(matrix, translation):
    """Map a plane by a matrix, shape ``(2, 2)``, and a translation, shape ``(2,)``."""
    (a, b), (c, d) = matrix
    shift_x, shift_y = translation
    return Transform(2, lambda x, y: (a * x + b * y + shift_x, c * x + d * y + shift_y))


def polynomial(coefficients):
    """Evaluate a polynomial of x and y; shape ``(degree + 1, degree + 1)``, first the power of x.

    Coefficients of terms beyond the total degree do not count.
    """
    order = np.arange(len(coefficients))
    coefficients = np.where(order[:, None] + order < len(order), coefficients, 0.0)
    return Transform(2, lambda x, y: (_horner(x, y, coefficients),))


def table(points, values, fill):
    """Interpolate linearly between points, shape ``(n,)``; ``fill`` beyond them."""
    return Transform(1, lambda x: (np.interp(x, points, values, fill, fill),))


def substitute(condition, limit, value):
    """Put a value where inputs are beyond a limit; ``condition`` as in stdatamodels' Logical."""
    beyond = Logical.conditions[condition.upper()]
    return Transform(1, lambda x: (np.where(beyond(x, limit) & ~np.isnan(x), value, x),))


def _horner(x, y, coefficients):
    """Evaluate by Horner's rule in y, on polynomials in x."""
    powers = np.empty((len(coefficients), *x.shape))
    powers[0] = 1
    for i in range(1, len(coefficients)):
        np.multiply(powers[i - 1], x, out=powers[i])
    *rest, result = np.tensordot(coefficients.T, powers, 1)
    for term in reversed(rest):
        result *= y
        result += term
    return result


# --- the ways to join them


def chain(left, right):
    """Apply one after the other."""
    return Transform(left.n_inputs, lambda *inputs: right.apply(*left.apply(*inputs)))


def beside(left, right):
    """Apply one to the first inputs, the other to the rest."""
    split = left.n_inputs

    def apply(*inputs):
        return (*left.apply(*inputs[:split]), *right.apply(*inputs[split:]))

    return Transform(split + right.n_inputs, apply)


def arithmetic(operator, left, right):
    """Add (or subtract, ...) the outputs of two transforms of the same inputs."""
    ufunc = ARITHMETIC[operator]

    def apply(*inputs):
        pairs = zip(left.apply(*inputs), right.apply(*inputs), strict=True)
        return tuple(ufunc(a, b) for a, b in pairs)

    return Transform(left.n_inputs, apply)


def fixed(transform, values):
    """Give some inputs, by their number, fixed values."""
    free = [i for i in range(transform.n_inputs) if i not in values]

    def apply(*inputs):
        given = dict(zip(free, inputs, strict=True))
        given |= {i: np.full_like(inputs[0], value) for i, value in values.items()}
        return transform.apply(*(given[i] for i in range(transform.n_inputs)))

    return Transform(len(free), apply)


# --- from astropy


def from_model(model):
    """Make a transform of an astropy model.

    Parameters
    ----------
    model : `~astropy.modeling.Model`
        A single or compound model without units on its inputs.

    Returns
    -------
    Transform
        It gives what ``model(*inputs)`` gives, bounding boxes aside.
    """
    if isinstance(model, CompoundModel):
        if model.op == "fix_inputs":
            names = model.left.inputs
            values = {
                names.index(key) if isinstance(key, str) else key: value
                for key, value in model.right.items()
            }
            if all(np.isscalar(v) and np.isreal(v) for v in values.values()):
                return fixed(from_model(model.left), values)
        else:
            join = {"|": chain, "&": beside}.get(model.op)
            if join or model.op in ARITHMETIC:
                parts = from_model(model.left), from_model(model.right)
                return join(*parts) if join else arithmetic(model.op, *parts)
    return _from_leaf(model) or Transform(model.n_inputs, lambda *inputs: _tuple(model(*inputs)))


def _from_leaf(model):
    """Make a transform of a leaf that is known; None of any other."""
    kind = type(model)
    if kind is Identity:
        return identity(model.n_inputs)
    if kind is Mapping:
        return remapped(model.mapping, model.n_inputs)
    if kind is Shift:
        return shift(model.offset.value)
    if kind is Scale:
        return scale(model.factor.value)
    if kind is Const1D:
        return constant(model.amplitude.value)
    if kind is AffineTransformation2D:
        return affine(model.matrix.value, model.translation.value)
    if kind is Polynomial2D and _is_unscaled(model):
        return polynomial(_coefficients(model))
    if kind is Tabular1D:
        points, fill = model.points[0], model.fill_value
        if is_plain_table(points, model.method, model.bounds_error, fill):
            return table(points, model.lookup_table, fill)
        return None
    if kind in (Rotation3DToGWA, RotationSequence3D):
        return _evaluated(model, np.deg2rad(model.angles.value)[None])
    if kind is Rotation2D:
        return _evaluated(model, float(np.deg2rad(model.angle.value)))
    if kind in WITHOUT_PARAMETERS:
        return _evaluated(model)
    if kind is Logical and np.isscalar(model.compareto) and np.isscalar(model.value):
        return substitute(model.condition, model.compareto, model.value)
    return None


def _evaluated(model, *parameters):
    """Make a transform of the method that does the work of a model."""
    return Transform(model.n_inputs, lambda *inputs: tuple(model.evaluate(*inputs, *parameters)))


def is_plain_table(points, method, bounds_error, fill):
    """Whether a table is interpolated as numpy does it."""
    plain = method == "linear" and not bounds_error and fill is not None
    return plain and bool(np.all(np.diff(points) > 0))


def _is_unscaled(model):
    return model.x_domain == model.x_window and model.y_domain == model.y_window


def _coefficients(model):
    """Coefficients of a polynomial, shape ``(degree + 1, degree + 1)``, first the power of x."""
    result = np.zeros((model.degree + 1, model.degree + 1))
    result[_powers(model.param_names)] = [getattr(model, name).value for name in model.param_names]
    return result


@lru_cache
def _powers(names):
    """Powers of x and y that the parameters ``c1_2`` and so on belong to."""
    return tuple(np.array([name[1:].split("_") for name in names], int).T)


def _tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


# --- along the frames of a WCS


def frame_names(wcs):
    """Names of the frames of a gwcs object, in order.

    Parameters
    ----------
    wcs : `~gwcs.wcs.WCS` or `~msa3d_steps.cube.rawwcs.RawWCS`
        The WCS.

    Returns
    -------
    list of str
        Names from the input frame to the output frame.
    """
    return [getattr(step.frame, "name", step.frame) for step in wcs.pipeline]


def transform_between(wcs, start, end=None):
    """Give a function that carries coordinates from one frame of a gwcs object to a later one.

    Bounding boxes are not applied.

    Parameters
    ----------
    wcs : `~gwcs.wcs.WCS` or `~msa3d_steps.cube.rawwcs.RawWCS`
        The WCS.
    start : str
        Name of the frame of the inputs.
    end : str, optional
        Name of the frame of the outputs; the last frame by default.

    Returns
    -------
    callable
        ``f(*inputs) -> tuple of numpy.ndarray``.

    Raises
    ------
    ValueError
        Where the WCS has no such frame.
    """
    names = frame_names(wcs)
    first = names.index(start)
    last = names.index(end) if end is not None else len(names) - 1
    steps = [step.transform for step in wcs.pipeline[first:last]]
    steps = [step if isinstance(step, Transform) else from_model(step) for step in steps]

    def transform(*inputs):
        for step in steps:
            inputs = step.apply(*inputs)
        return inputs

    return transform
