"""Wang et al., "On Calibrating Semantic Segmentation Models: Analyses and An Algorithm", CVPR 2023."""
