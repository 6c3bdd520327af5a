"""A local Spark for tests, and why there is none where there is none."""

import importlib.util
import shutil

import pytest

_ABSENT = [
    what
    for what, there in (
        ("PySpark (pip install '.[spark]')", importlib.util.find_spec("pyspark") is not None),
        ("Java", shutil.which("java") is not None),
    )
    if not there
]

needs_spark = pytest.mark.skipif(bool(_ABSENT), reason=f"no {' and no '.join(_ABSENT)}")
