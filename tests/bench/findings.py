"""The one table of README: what was found, how sure that is, and where it is told."""

from dataclasses import dataclass

from tests.bench.cells import Gain, table
from tests.bench.evidence import DENSE_MODEL, gain_over
from tests.bench.measured import Result, measured

PAGE = "tests/bench/README.md"
NOT_MEASURED = "not measured"
NOTE = (
    "Points are hundredths of AUC. Intervals are 95 %, over resampled queries or requests, and take the trained models "
    "as they are."
)


@dataclass(frozen=True)
class Finding:
    """A row; `anchor` is a heading of the page."""

    name: str
    figure: str
    interval: str
    where: str
    anchor: str

    @classmethod
    def of_gain(cls, name: str, gain: Gain | None, where: str, anchor: str) -> "Finding":
        """A gain of AUC, and in words where its interval holds 0."""
        assert gain, f"{name} was not measured"
        doubt = ": holds 0, so no gain is shown" if gain.undecided else ""
        return cls(name, f"{gain.figure} points", gain.interval + doubt, where, anchor)


def findings(tuned: Result, equal: Result, mixture: Result, run: Result, experts: Result) -> list[Finding]:
    """What was found.

    Args:
        tuned: the study of tuned experts.
        equal: the one whose dense baseline has as many active parameters as its mixture.
        mixture: batch scoring of a mixture on a GPU, a dense baseline of as many parameters among those it met.
        run: a run of the laptop profile.
        experts: packed experts on a GPU.
    """
    active = equal["active_parameters"]
    sizes = f"{active['mixture'] / 1e6:.0f} M against {active[DENSE_MODEL] / 1e6:.0f} M active parameters"
    peer = min(mixture["dense"], key=lambda dense: abs(dense["parameters"] - mixture["active_parameters"]))
    shares = [shape["ways"]["packed, bfloat16"]["mfu"] for shape in experts["shapes"].values()]
    value, *interval = run["ranking"]["hhsft_es3"]["difference"]["auc"]
    return [
        Finding.of_gain(
            f"Tuned mixture over a dense model, {sizes}",
            gain_over(equal, DENSE_MODEL),
            "dense model",
            "is-the-mixture-better-than-a-dense-model",
        ),
        Finding.of_gain(
            "Tuned mixture over its best expert alone: what mixing adds",
            gain_over(tuned, "gemma3-270m"),
            "best expert",
            "is-the-mixture-better-than-its-best-expert",
        ),
        Finding(
            f"A mixture's queries a second on one GPU over a dense model's, {mixture['active_parameters'] / 1e6:.0f} M "
            f"against {peer['parameters'] / 1e6:.0f} M",
            f"{peer['mixture_over_dense']:.2f} times",
            NOT_MEASURED,
            "throughput",
            "the-mixture-against-dense-models",
        ),
        Finding.of_gain(
            "Concatenation over the weighted average",
            gain_over(tuned, "weighted_average"),
            "fusion",
            "concatenation-or-an-average",
        ),
        Finding.of_gain(
            "ES3 and HHSFT over a DLRM on exposures, *simulated data*",
            Gain.of(value, interval),
            "ranking",
            "do-es3-and-hhsft-gain-over-a-dlrm",
        ),
        Finding(
            "Packed experts' share of a GPU's bfloat16 rate, *random weights*",
            f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %",
            NOT_MEASURED,
            "packed experts",
            "packed-experts",
        ),
        Finding(
            f"Largest difference of served scores from offline ones, {run['serving']['requests']} requests, "
            "*simulated data*",
            f"{run['serving']['max_abs_diff']:.1e}",
            "a maximum: none",
            "serving",
            "are-served-scores-equal-to-offline-ones",
        ),
        Finding(
            "Batch scoring over a synchronous control on one GPU, *simulated requests*",
            f"{mixture['batch_over_control']:.1f} times",
            NOT_MEASURED,
            "batch scoring",
            "the-mixture-against-dense-models",
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
    rows = [[one.name, one.figure, one.interval, f"[{one.where}]({PAGE}#{one.anchor})"] for one in found]
    return f"{table(['what', 'figure', '95 % interval', 'where'], rows)}\n\n{NOTE}"
