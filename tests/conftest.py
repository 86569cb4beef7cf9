"""What every test gets: examples of a bounded number, the shared data where it is, and a port of its own."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from app.settings import PREFIX

pytest_plugins = ["tests.servers.fixtures"]

REPOSITORY = Path(__file__).resolve().parent.parent

# A slow machine is no bug: no deadline. In CI the examples are the same for everyone; at a desk they differ each time.
# More of them: `pytest --hypothesis-profile=soak`.
_PATIENT = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("desk", _PATIENT)
settings.register_profile("ci", _PATIENT, derandomize=True)
settings.register_profile("soak", _PATIENT, max_examples=2000, stateful_step_count=100)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# What a developer has set for his own service is not the tests' business, nor that of the programs they start.
for _name in [name for name in os.environ if name.startswith(PREFIX)]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real feeds beside the repository; a test that needs them skips where they are not."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real feeds are not here: ../shared/data does not exist beside the repository")
    return folder


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
