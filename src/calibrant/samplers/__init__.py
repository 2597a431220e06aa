"""Logits → hypotheses: label maps drawn from a law whose pixels belong together."""

from calibrant.samplers.copula import CopulaSampler
from calibrant.samplers.coupled import Coupled
from calibrant.samplers.energy_score import EnergyScoreLoss, EnergyScoreSampler
from calibrant.samplers.learnt_sampler import LearntSampler
from calibrant.samplers.mean_of_samples import MeanOfSamples
from calibrant.samplers.network_sampler import NetworkSampler
from calibrant.samplers.recipe import RefinementRecipe, SamplerRecipe
from calibrant.samplers.refinement import RefinementSampler
from calibrant.samplers.sampler import IndependentSampler, Sampler, entropy_map
from calibrant.samplers.stochastic_segmentation import MonteCarloLikelihood, StochasticSegmentationSampler
from calibrant.samplers.storage import load_sampler, save_sampler

__all__ = [
    "CopulaSampler",
    "Coupled",
    "EnergyScoreLoss",
    "EnergyScoreSampler",
    "IndependentSampler",
    "LearntSampler",
    "MeanOfSamples",
    "MonteCarloLikelihood",
    "NetworkSampler",
    "RefinementRecipe",
    "RefinementSampler",
    "Sampler",
    "SamplerRecipe",
    "StochasticSegmentationSampler",
    "entropy_map",
    "load_sampler",
    "save_sampler",
]
