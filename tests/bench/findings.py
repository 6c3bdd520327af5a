"""The one table of README: what was found and how sure that is; each name links to the page that tells it."""

from dataclasses import dataclass

from tests.bench.cells import Gain, table
from tests.bench.evidence import DENSE_MODEL, gain_over
from tests.bench.measured import Result, measured

PAGE = "tests/bench/README.md"
NOT_MEASURED = "not measured"
NOTE = (
    "Points are hundredths of AUC. Intervals are 95 %, over resampled queries or requests, and take the trained models "
    "as they are. Most of the first gain is that the dense model's last layers do harm. The second compares a mixture "
    "of 69 M active parameters with one expert of 50 M; at nearly equal size (twelve layers, 67 M) the difference is "
    "0.40, over two studies and without an interval."
)


@dataclass(frozen=True)
class Finding:
    """A row; `anchor` is a heading of the page, `data` says what was measured on where that is not real judgments."""

    name: str
    figure: str
    interval: str
    anchor: str
    data: str = ""

    @classmethod
    def of_gain(cls, name: str, gain: Gain | None, anchor: str, data: str = "") -> "Finding":
        """A gain of AUC, and in words where its interval holds 0."""
        assert gain, f"{name} was not measured"
        doubt = ": holds 0, so no gain is shown" if gain.undecided else ""
        return cls(name, f"{gain.figure} points", gain.interval + doubt, anchor, data)

    @property
    def cells(self) -> list[str]:
        """As a row of the table."""
        linked = f"[{self.name}]({PAGE}#{self.anchor})"
        return [f"{linked}, *{self.data}*" if self.data else linked, self.figure, self.interval]


def findings(tuned: Result, equal: Result, mixture: Result, run: Result, experts: Result) -> list[Finding]:
    """What was found.

    Args:
        tuned: the study of tuned experts.
        equal: the one whose dense model has as many active parameters as its mixture.
        mixture: batch scoring of a mixture on a GPU, a dense model of as many parameters among those it met.
        run: a run of the laptop profile.
        experts: packed experts on a GPU.
    """
    active = equal["active_parameters"]
    peer = min(mixture["dense"], key=lambda dense: abs(dense["parameters"] - mixture["active_parameters"]))
    shares = [100 * shape["ways"]["packed, bfloat16"]["mfu"] for shape in experts["shapes"].values()]
    value, *interval = run["ranking"]["hhsft_es3"]["difference"]["auc"]
    return [
        Finding.of_gain(
            f"Tuned mixture over a dense model, {_millions(active['mixture'], active[DENSE_MODEL])} active parameters",
            gain_over(equal, DENSE_MODEL),
            "is-the-mixture-better-than-a-dense-model",
            # What the command says: the other studies have three seeds and 1,000 draws.
            "one seed, 50 draws" if "--bootstrap 50 --seeds 1" in equal["command"] else "",
        ),
        Finding.of_gain(
            "Tuned mixture over its best expert alone",
            gain_over(tuned, "gemma3-270m"),
            "is-the-mixture-better-than-its-best-expert",
        ),
        Finding(
            "Queries per second on one GPU, mixture over dense model, "
            + _millions(mixture["active_parameters"], peer["parameters"]),
            f"{peer['mixture_over_dense']:.2f} times",
            NOT_MEASURED,
            "the-mixture-against-dense-models",
            "simulated requests",
        ),
        Finding.of_gain(
            "Concatenation over the weighted average, tuned experts",
            gain_over(tuned, "weighted_average"),
            "concatenation-or-an-average",
        ),
        Finding.of_gain(
            "ES3 and HHSFT over a DLRM on exposures",
            Gain.of(value, interval),
            "do-es3-and-hhsft-gain-over-a-dlrm",
            "simulated data",
        ),
        Finding(
            "Packed experts' share of a GPU's bfloat16 rate",
            f"{min(shares):.1f} to {max(shares):.1f} %",
            NOT_MEASURED,
            "packed-experts",
            "random weights",
        ),
        Finding(
            f"Largest difference of served scores from offline ones, {run['serving']['requests']} requests",
            f"{run['serving']['max_abs_diff']:.1e}",
            "none: a maximum",
            "are-served-scores-equal-to-offline-ones",
            "simulated data",
        ),
        Finding(
            "Batch scoring over a synchronous control on one GPU",
            f"{mixture['batch_over_control']:.1f} times",
            NOT_MEASURED,
            "the-mixture-against-dense-models",
            "simulated requests",
        ),
    ]


def findings_table() -> str:
    """README's table."""
    found = findings(
        measured("study-analyticup-tuned-9"),
        measured("study-analyticup-tuned-16"),
        measured("gpu-mixture"),
        measured("run-laptop"),
        measured("gpu-experts"),
    )
    return f"{table(['what', 'figure', '95 % interval'], [one.cells for one in found])}\n\n{NOTE}"


def _millions(left: float, right: float) -> str:
    return f"{left / 1e6:.0f} M against {right / 1e6:.0f} M"
