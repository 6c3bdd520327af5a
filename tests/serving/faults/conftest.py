"""These tests need a real Triton."""

import pytest

from components.contracts.errors import BadInput
from serving.local.triton_server import triton_environment


@pytest.fixture(scope="session", autouse=True)
def _a_real_triton() -> None:
    try:
        triton_environment()
    except BadInput as error:
        pytest.skip(f"no Triton: {error}")
