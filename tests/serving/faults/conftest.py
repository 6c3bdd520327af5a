"""These tests need a real Triton."""

import pytest

from tests.serving.real_triton import require_triton


@pytest.fixture(scope="session", autouse=True)
def _a_real_triton() -> None:
    require_triton()
