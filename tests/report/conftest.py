import pytest
from measured_scenes import compared, small_case

from calibrant.report import Case


@pytest.fixture(scope="session")
def three():
    """Over-confident as it is; a good, a middling calibrator."""
    return compared({"uncalibrated": 3.0, "good": 1.0, "middling": 2.0})


@pytest.fixture
def case() -> Case:
    return small_case()
