"""Evaluation of gwcs transforms without the overhead of each model call.

A NIRSpec WCS is a tree of about 120 small astropy models. Calling it costs 10 to 40 ms before the
first pixel, nearly all of it spent in preparing inputs and outputs of each leaf. The leaves that
make up most of the tree are plain arithmetic, so they are evaluated directly; every other leaf is
called as usual.
"""

from functools import lru_cache

import numpy as np
from astropy.modeling.core import CompoundModel
from astropy.modeling.models import (
    AffineTransformation2D,
    Const1D,
    Identity,
    Mapping,
    Polynomial2D,
    Scale,
    Shift,
    Tabular1D,
)
from stdatamodels.jwst.transforms.models import Logical, Rotation3DToGWA, Unitless2DirCos

__all__ = ["evaluate", "frame_names", "transform_between"]

_ARITHMETIC = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
}


def evaluate(model, *inputs):
    """Evaluate an astropy model on plain float arrays.

    Parameters
    ----------
    model : `~astropy.modeling.Model`
        A single or compound model without units on its inputs.
    *inputs : numpy.ndarray
        One float array for each input of the model, all of one shape.

    Returns
    -------
    tuple of numpy.ndarray
        One array for each output of the model; what ``model(*inputs)`` gives.
    """
    if isinstance(model, CompoundModel):
        if model.op == "|":
            return evaluate(model.right, *evaluate(model.left, *inputs))
        if model.op == "&":
            split = model.left.n_inputs
            left = evaluate(model.left, *inputs[:split])
            return (*left, *evaluate(model.right, *inputs[split:]))
        if model.op in _ARITHMETIC:
            left, right = evaluate(model.left, *inputs), evaluate(model.right, *inputs)
            return tuple(_ARITHMETIC[model.op](a, b) for a, b in zip(left, right, strict=True))
    return _evaluate_leaf(model, inputs)


def _evaluate_leaf(model, inputs):
    kind = type(model)
    if kind is Identity:
        return inputs
    if kind is Mapping:
        return tuple(inputs[i] for i in model.mapping)
    if kind is Shift:
        return (inputs[0] + model.offset.value,)
    if kind is Scale:
        return (inputs[0] * model.factor.value,)
    if kind is Const1D:
        return (np.full_like(inputs[0], model.amplitude.value),)
    if kind is Polynomial2D and _is_unscaled(model):
        return (_polynomial(*inputs, _coefficients(model)),)
    if kind is Tabular1D and _is_plain(model):
        (points,), fill = model.points, model.fill_value
        return (np.interp(inputs[0], points, model.lookup_table, fill, fill),)
    if kind is Rotation3DToGWA:
        return tuple(model.evaluate(*inputs, np.deg2rad(model.angles.value)[None]))
    if kind is Unitless2DirCos:
        return tuple(model.evaluate(*inputs))
    if kind is Logical:
        return (model.evaluate(*inputs),)
    if kind is AffineTransformation2D:
        (a, b), (c, d) = model.matrix.value
        shift_x, shift_y = model.translation.value
        x, y = inputs
        return a * x + b * y + shift_x, c * x + d * y + shift_y
    outputs = model(*inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _is_unscaled(model):
    return model.x_domain == model.x_window and model.y_domain == model.y_window


def _is_plain(model):
    """Whether a table is interpolated as numpy does it."""
    plain = model.method == "linear" and not model.bounds_error and model.fill_value is not None
    return plain and bool(np.all(np.diff(model.points[0]) > 0))


def _polynomial(x, y, coefficients):
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


def _coefficients(model):
    """Coefficients of a polynomial, shape ``(degree + 1, degree + 1)``, first the power of x."""
    result = np.zeros((model.degree + 1, model.degree + 1))
    result[_powers(model.param_names)] = [getattr(model, name).value for name in model.param_names]
    return result


@lru_cache
def _powers(names):
    """Powers of x and y that the parameters ``c1_2`` and so on belong to."""
    return tuple(np.array([name[1:].split("_") for name in names], int).T)


def frame_names(wcs):
    """Names of the frames of a gwcs object, in order.

    Parameters
    ----------
    wcs : `~gwcs.wcs.WCS`
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
    wcs : `~gwcs.wcs.WCS`
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
    models = [step.transform for step in wcs.pipeline[first:last]]

    def transform(*inputs):
        for model in models:
            inputs = evaluate(model, *inputs)
        return inputs

    return transform
