"""Logits → hypotheses: label maps drawn from a law whose pixels belong together."""

from calibrant.samplers.copula import CopulaSampler
from calibrant.samplers.recipe import RefinementRecipe
from calibrant.samplers.refinement import RefinementSampler
from calibrant.samplers.sampler import IndependentSampler, Sampler, entropy_map
from calibrant.samplers.storage import load_sampler, save_sampler

__all__ = [
    "CopulaSampler",
    "IndependentSampler",
    "RefinementRecipe",
    "RefinementSampler",
    "Sampler",
    "entropy_map",
    "load_sampler",
    "save_sampler",
]
