"""The user's program that ``make types`` checks also runs."""

import client
import pytest


@pytest.mark.slow
def test_the_client_runs(tmp_path):
    assert client.main(tmp_path).read_text("utf-8").startswith("<!DOCTYPE html>")
