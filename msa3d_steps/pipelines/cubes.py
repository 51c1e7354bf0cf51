"""The cubes of a run, opened when they are looked at."""

from pathlib import Path

from msa3d_steps.datamodels import MSACubeModel

__all__ = ["Cubes"]


class Cubes:
    """The cubes of a run; each is opened when it is asked for, so that many need no memory.

    Parameters
    ----------
    paths : dict
        Path of each cube by the label of its source; with its grating, as in
        ``s000008512_f100lp-g140h``, where there are several.
    summary : `~astropy.table.Table`
        What was made of each source.

    Examples
    --------
    ``cubes[0]``, ``cubes["s000000001"]``, ``for cube in cubes``, ``len(cubes)``
    """

    def __init__(self, paths, summary):
        self.paths = {label: Path(path) for label, path in paths.items()}
        self.summary = summary

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, which):
        path = self.paths[which] if isinstance(which, str) else list(self.paths.values())[which]
        return MSACubeModel(path)

    def __iter__(self):
        return (MSACubeModel(path) for path in self.paths.values())

    def __repr__(self):
        return f"Cubes({', '.join(self.paths)})"
