"""Triton's metric archipelago_cut_texts: pairs that were too long to be read whole, by expert, market and part."""

import numpy as np
import triton_python_backend_utils as pb_utils


class CutTexts:
    """Queries and items that lost tokens, counted."""

    def __init__(self):
        self.family = pb_utils.MetricFamily(
            name="archipelago_cut_texts",
            description="Pairs whose query or item was too long for an expert and lost tokens",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self.counters = {}

    def __call__(self, expert, markets, cut_R2):
        """Count an expert's pairs: whether tokens of query and item were left out, bool (R, 2)."""
        for row, part in np.argwhere(cut_R2).tolist():
            labels = {"expert": expert, "market": markets[row], "part": ("query", "item")[part]}
            key = tuple(labels.values())
            if key not in self.counters:
                self.counters[key] = self.family.Metric(labels=labels)
            self.counters[key].increment(1)
