"""Run counts over predictions: one pass, one row per image, many calibrators."""
