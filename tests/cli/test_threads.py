"""The command line tells OpenMP how to wait before torch is imported."""

import os
import subprocess
import sys

CODE = """
import os, sys
from calibrant.cli import main
sys.argv = ["calibrant", "--version"]
try:
    main()
except SystemExit:
    print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("KMP_BLOCKTIME"), "torch" in sys.modules)
"""


def told(**variables):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=clean | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def test_waiting_threads_sleep_unless_the_user_says_otherwise():
    assert told() == "PASSIVE 0 False"
    assert told(OMP_WAIT_POLICY="ACTIVE") == "ACTIVE None False"
    assert told(GOMP_SPINCOUNT="7") == "None None False"
