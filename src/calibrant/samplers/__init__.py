"""Logits → hypotheses: label maps drawn from a law whose pixels belong together."""

from calibrant.samplers.copula import CopulaSampler
from calibrant.samplers.coupled import Coupled
from calibrant.samplers.energy_score import EnergyScoreLoss, EnergyScoreSampler
from calibrant.samplers.evidence import EvidenceLoss
from calibrant.samplers.hierarchical import ConstrainedLoss, HierarchicalSampler
from calibrant.samplers.learnt_sampler import LearntSampler, Moment
from calibrant.samplers.mean_of_samples import MeanOfSamples
from calibrant.samplers.network_sampler import NetworkSampler
from calibrant.samplers.phiseg import PHiSegSampler
from calibrant.samplers.probabilistic import ProbabilisticSampler
from calibrant.samplers.recipe import RefinementRecipe, SamplerRecipe
from calibrant.samplers.refinement import RefinementSampler
from calibrant.samplers.sampler import IndependentSampler, Sampler, entropy_map
from calibrant.samplers.stochastic_segmentation import MonteCarloLikelihood, StochasticSegmentationSampler
from calibrant.samplers.storage import load_sampler, save_sampler
from calibrant.samplers.supervised_uncertainty import SupervisedLoss, SupervisedUncertaintySampler

__all__ = [
    "ConstrainedLoss",
    "CopulaSampler",
    "Coupled",
    "EnergyScoreLoss",
    "EnergyScoreSampler",
    "EvidenceLoss",
    "HierarchicalSampler",
    "IndependentSampler",
    "LearntSampler",
    "MeanOfSamples",
    "Moment",
    "MonteCarloLikelihood",
    "NetworkSampler",
    "PHiSegSampler",
    "ProbabilisticSampler",
    "RefinementRecipe",
    "RefinementSampler",
    "Sampler",
    "SamplerRecipe",
    "StochasticSegmentationSampler",
    "SupervisedLoss",
    "SupervisedUncertaintySampler",
    "entropy_map",
    "load_sampler",
    "save_sampler",
]
