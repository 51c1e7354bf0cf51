"""Evaluation of gwcs transforms without the overhead of each model call.

A NIRSpec WCS is a tree of about 120 small astropy models. Calling it costs 10 to 40 ms before the
first pixel, nearly all of it spent in preparing inputs and outputs of each leaf. The leaves that
make up most of the tree are plain arithmetic, so they are evaluated directly; every other leaf is
called as usual.
"""

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
)

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
    if kind is Polynomial2D:
        return (model.evaluate(*inputs, *model.parameters),)
    if kind is AffineTransformation2D:
        (a, b), (c, d) = model.matrix.value
        shift_x, shift_y = model.translation.value
        x, y = inputs
        return a * x + b * y + shift_x, c * x + d * y + shift_y
    outputs = model(*inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


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
