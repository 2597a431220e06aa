"""Long trainings: batches that depend on a seed and a step alone, a loop that stops and goes on exactly, devices."""

from calibrant._statistics.generators import reproducible, seeded
from calibrant.training.annotators import annotator_cross_entropy, chosen_annotator
from calibrant.training.augment import Augmentation, Orientation
from calibrant.training.average import move_average
from calibrant.training.batches import Batch, Batches
from calibrant.training.black_box import train_segmenter
from calibrant.training.checkpoint import restore_states, states_of
from calibrant.training.devices import Devices, SingleDevice, open_fabric
from calibrant.training.loop import Trainee, Watch, train
from calibrant.training.network import NetworkTraining
from calibrant.training.rates import one_cycle, set_rate
from calibrant.training.standardise import Standardise, network_input

__all__ = [
    "Augmentation",
    "Batch",
    "Batches",
    "Devices",
    "NetworkTraining",
    "Orientation",
    "SingleDevice",
    "Standardise",
    "Trainee",
    "Watch",
    "annotator_cross_entropy",
    "chosen_annotator",
    "move_average",
    "network_input",
    "one_cycle",
    "open_fabric",
    "reproducible",
    "restore_states",
    "seeded",
    "set_rate",
    "states_of",
    "train",
    "train_segmenter",
]
