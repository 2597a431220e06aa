"""Contracts that users can run on their own calibrators, sources and samplers."""
