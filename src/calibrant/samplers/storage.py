"""Samplers on disk: a folder with a readable ``sampler.json`` and the tensors in a safetensors file."""

import os
from collections.abc import Mapping

from calibrant._storage.fitted import Storage
from calibrant.calibrators import storage as calibrators
from calibrant.networks import RefinementUNet
from calibrant.samplers.copula import CopulaSampler
from calibrant.samplers.coupled import Coupled
from calibrant.samplers.energy_score import EnergyScoreSampler
from calibrant.samplers.hierarchical import HierarchicalSampler
from calibrant.samplers.learnt_sampler import LearntSampler
from calibrant.samplers.mean_of_samples import MeanOfSamples
from calibrant.samplers.orientations import OrientedBasis
from calibrant.samplers.phiseg import PHiSegSampler
from calibrant.samplers.probabilistic import ProbabilisticSampler
from calibrant.samplers.refinement import RefinementSampler
from calibrant.samplers.sampler import IndependentSampler, Sampler
from calibrant.samplers.stochastic_segmentation import StochasticSegmentationSampler
from calibrant.samplers.supervised_uncertainty import SupervisedUncertaintySampler
from calibrant.training import Standardise

LEARNT: dict[str, type[LearntSampler]] = {
    "energy": EnergyScoreSampler,
    "ssn": StochasticSegmentationSampler,
    "probabilistic-unet": ProbabilisticSampler,
    "hierarchical": HierarchicalSampler,
    "phiseg": PHiSegSampler,
    "supervised-uq": SupervisedUncertaintySampler,
}
"""Samplers with one network, by the name that files and the command line know them by. A new one is one more line."""

KINDS: dict[str, type] = {
    "independent": IndependentSampler,
    "copula": CopulaSampler,
    "refinement": RefinementSampler,
    "coupled": Coupled,
    "mean of samples": MeanOfSamples,
    "network in orientations": OrientedBasis,
    "standardised images": Standardise,
    **LEARNT,
    **calibrators.KINDS,
}
"""What can be stored: samplers, and the calibrators of their marginals."""

NETWORKS: dict[str, type] = {
    "refinement U-Net": RefinementUNet,
    **{f"network of {name}": sampler.network_class for name, sampler in LEARNT.items()},
    **calibrators.NETWORKS,
}
"""Parts whose weights are stored with what their constructors need."""

STORAGE = Storage("sampler", Sampler, KINDS, NETWORKS, "calibrant refine", mappings=frozenset({"cells"}))


def save_sampler(
    sampler: Sampler,
    path: str | os.PathLike[str],
    *,
    kinds: Mapping[str, type] | None = None,
    made_from: Mapping[str, str] | None = None,
) -> None:
    """Write a sampler into a folder, which is made if missing; one that is there is replaced.

    A class of your own is stored by what its ``arguments()`` returns, under its ``module:Class``.

    :param sampler: a sampler of calibrant's kinds or of your own.
    :param path: the folder.
    :param kinds: other names than ``module:Class`` for classes of your own, ``{"name": Class}``.
    :param made_from: what it was made from, by name, which is kept beside it; None keeps nothing.
    :raises StoreError: the sampler, or a part of it, does not say what its constructor needs, differs when it is
        made again from that, or cannot be written.
    """
    STORAGE.save(sampler, path, kinds, made_from)


def load_sampler(path: str | os.PathLike[str], *, kinds: Mapping[str, type] | None = None) -> Sampler:
    """Return the sampler in a folder.

    :param path: the folder that it was saved into.
    :param kinds: classes of your own by the names that they are stored under, ``{"module:Class": Class}``. None of
        them is ever imported because a file names it.
    :raises StoreError: the folder holds none, or it is damaged, or a newer version of calibrant wrote it, or it holds
        a class of your own that is not in ``kinds``.
    """
    return STORAGE.load(path, kinds)
