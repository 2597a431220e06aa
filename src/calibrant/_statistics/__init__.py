"""Random numbers that depend on a seed alone, images left out of a fit, and whether what is gained on them is real."""
