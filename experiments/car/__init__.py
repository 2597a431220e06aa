"""Calibrated adversarial refinement (Kassapis et al., ICCV 2021)."""
