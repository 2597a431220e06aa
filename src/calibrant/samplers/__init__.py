"""Logits → hypotheses: label maps drawn from a law whose pixels belong together."""

from calibrant.samplers.copula import CopulaSampler
from calibrant.samplers.sampler import IndependentSampler, Sampler

__all__ = ["CopulaSampler", "IndependentSampler", "Sampler"]
