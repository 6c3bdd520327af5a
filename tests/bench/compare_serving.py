"""Throughput of stored searches at several services, side by side: each is asked in turn, for several rounds.

    python -m tests.bench.compare_serving before=http://127.0.0.1:8080=RELEASE after=http://127.0.0.1:8081=RELEASE

The services run already, on this machine: one of an older commit, say, or with other options. What else the machine
does then is in every round of every service, and ratios to the first service are taken round by round.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

from tests.bench.load import Call, load, over_http, stored_searches

CLIENTS = 8
ITEMS = 50


def rates(services: dict[str, Callable[[], Call]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Requests a second of each service, a figure per round."""
    found: dict[str, list[float]] = {name: [] for name in services}
    for connect in services.values():
        load(connect, CLIENTS, seconds / 2)
    for _ in range(rounds):
        for name, connect in services.items():
            found[name].append(load(connect, CLIENTS, seconds).per_second)
    return found


def sentences(found: dict[str, list[float]]) -> list[str]:
    """Median rate of each service, and its ratios to the first one's."""
    first, *others = found
    text = [f"{first}: {statistics.median(found[first]):.1f} requests/s"]
    for name in others:
        ratios = [ours / theirs for ours, theirs in zip(found[name], found[first], strict=True)]
        text.append(
            f"{name}: {statistics.median(found[name]):.1f} requests/s, {statistics.median(ratios):.2f} times {first} "
            f"({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds)"
        )
    return text


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("services", nargs="+", metavar="NAME=URL=RELEASE", help="the first one is compared with")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8, help="of each round of each service")
    arguments = parser.parse_args()
    services = {}
    for service in arguments.services:
        name, url, release = service.split("=", 2)
        services[name] = over_http(url, stored_searches(Path(release), ITEMS, 40))
    print(f"{CLIENTS} clients, {ITEMS} stored items a search")
    print("\n".join(sentences(rates(services, arguments.rounds, arguments.seconds))))


if __name__ == "__main__":
    main()
