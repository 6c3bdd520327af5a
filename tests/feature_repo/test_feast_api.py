"""Feast comes without PyTorch, and PyTorch after it comes whole."""

import subprocess
import sys


def test_a_serving_process_does_not_carry_pytorch() -> None:
    code = (
        "import sys, feature_repo.store\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "assert torch.ones(2).sum() == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
