"""One file per architecture, each a plain module; how weights lie in memory."""

from calibrant.networks.basis_unet import Basis, BasisUNet, sample_logits, with_all_classes
from calibrant.networks.calibration_head import CalibrationHead
from calibrant.networks.discriminator import Discriminator
from calibrant.networks.hierarchical_unet import HierarchicalUNet, Multiplier
from calibrant.networks.knet import KNet, KNetSize
from calibrant.networks.latents import Gaussian, Reconstruction
from calibrant.networks.memory_layout import with_channels_last
from calibrant.networks.phiseg import PHiSeg
from calibrant.networks.probabilistic_unet import Features, ProbabilisticUNet
from calibrant.networks.refinement_unet import RefinementUNet
from calibrant.networks.segmenter import Segmenter
from calibrant.networks.segnet import SegNet
from calibrant.networks.stochastic_unet import GaussianLogits, StochasticUNet
from calibrant.networks.temperature_tree import TemperatureTree
from calibrant.networks.unet import SmallUNet
from calibrant.networks.weight_noise_unet import WeightNoiseUNet

__all__ = [
    "Basis",
    "BasisUNet",
    "CalibrationHead",
    "Discriminator",
    "Features",
    "Gaussian",
    "GaussianLogits",
    "HierarchicalUNet",
    "KNet",
    "KNetSize",
    "Multiplier",
    "PHiSeg",
    "ProbabilisticUNet",
    "Reconstruction",
    "RefinementUNet",
    "SegNet",
    "Segmenter",
    "SmallUNet",
    "StochasticUNet",
    "TemperatureTree",
    "WeightNoiseUNet",
    "sample_logits",
    "with_all_classes",
    "with_channels_last",
]
