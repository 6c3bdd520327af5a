"""Where things that may be made again are kept between runs: converted weights, embeddings, large blobs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """ARCHIPELAGO_CACHE, or ~/.cache/archipelago; made where absent."""
    folder = Path(os.environ.get("ARCHIPELAGO_CACHE") or Path.home() / ".cache" / "archipelago")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
