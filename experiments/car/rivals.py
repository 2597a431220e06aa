"""Which sampler redraws best what four radiologists drew? Real CT crops of LIDC-IDRI, all trained alike long.

python -m experiments.car.rivals [--finished] [--train NAME INPUTS SEED] [--smoke]
"""

import argparse
import logging

import torch

from experiments._data import add_option, use
from experiments.car.rivals_config import Config
from experiments.car.rivals_jobs import trained, training_images

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--train", nargs=3, action="append", metavar=("NAME", "INPUTS", "SEED"), help="train this alone"
    )
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    chosen = Config()
    images = training_images(chosen)
    for name, inputs, seed in given.train or ():
        trained(chosen, name, inputs, int(seed), images)
