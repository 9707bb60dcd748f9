"""Fixtures that several test files share."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import pytest

# Processes of tests run side by side (make test); threads of each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A loaded machine is no failure: properties are checked, not how long that takes.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real FERPlus faces and published lists, named by the environment variable RANFER_DATA."""
    folder = os.environ.get("RANFER_DATA")
    if folder is None:
        pytest.skip("RANFER_DATA names no folder with the real data")
    return Path(folder)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the checks of shapes: torch.export and torch.compile give symbols where these expect numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
