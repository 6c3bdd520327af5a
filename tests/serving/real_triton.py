"""Tests that need a real Triton skip without one."""

import pytest

from components.contracts.errors import BadInput
from serving.local.triton_server import triton_environment


def require_triton() -> None:
    """Skip the test, or the tests of the fixture that calls this, where this machine has no Triton."""
    try:
        triton_environment()
    except BadInput as error:
        pytest.skip(f"no Triton: {error}")
