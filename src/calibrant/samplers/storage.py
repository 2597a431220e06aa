"""Samplers on disk: a folder with a readable ``sampler.json`` and the tensors in ``sampler.safetensors``."""

import os

from calibrant._stored import Storage
from calibrant.networks import RefinementUNet
from calibrant.samplers.copula import CopulaSampler
from calibrant.samplers.refinement import RefinementSampler
from calibrant.samplers.sampler import IndependentSampler, Sampler
from calibrant.training import Standardise

KINDS: dict[str, type] = {
    "independent": IndependentSampler,
    "copula": CopulaSampler,
    "refinement": RefinementSampler,
    "standardised images": Standardise,
}
"""What can be stored. A new sampler is one more line."""

NETWORKS: dict[str, type] = {"refinement U-Net": RefinementUNet}
"""Parts whose weights are stored with what their constructors need."""

_STORAGE = Storage("sampler", Sampler, KINDS, NETWORKS, "calibrant refine", mappings=frozenset({"cells"}))


def save_sampler(sampler: Sampler, path: str | os.PathLike[str]) -> None:
    """Write a sampler into a folder, which is made if missing; one that is there is replaced.

    :param sampler: what to store.
    :param path: the folder.
    :raises StoreError: the sampler, or a part of it, is of no kind in :data:`KINDS`, or cannot be written.
    """
    _STORAGE.save(sampler, path)


def load_sampler(path: str | os.PathLike[str]) -> Sampler:
    """Return the sampler in a folder.

    :param path: the folder that a sampler was saved to.
    :raises StoreError: the folder holds none, or it is damaged, or a newer version of calibrant wrote it.
    """
    return _STORAGE.load(path)
