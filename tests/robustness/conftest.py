"""A world for commands that run in processes of their own; one for all modules, since the server takes seconds."""

import pytest
from forks import Forks
from writing import World


@pytest.fixture(scope="package")
def world(tmp_path_factory):
    """What commands read, and the server that runs them."""
    forks = Forks()
    yield World(tmp_path_factory.mktemp("commands"), forks)
    forks.close()
