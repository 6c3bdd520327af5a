"""The public face of a release: a KServe transformer with the models `search` and `relevance`.

It checks requests, reads features, asks Triton over gRPC and sorts the page. It runs in a process of its own: KServe
and Triton's own client cannot be imported together.
"""

import argparse
import os
from functools import partial
from pathlib import Path

from kserve import Model, model_server

from components.contracts.errors import BadInput
from components.contracts.releases import ONLINE_STORE, PROCESS_METRICS, PUBLIC_KEY, check_release, check_versions
from components.contracts.signature import check_signature
from components.contracts.tools import log
from components.contracts.tools.exits import errors_in_one_line
from serving.observe.options import add_options, observing
from serving.release import Release, open_release
from serving.transformer.admission import IN_FLIGHT
from serving.transformer.events import Events
from serving.transformer.experts import Experts
from serving.transformer.health import ModelHealth
from serving.transformer.lane import Lane
from serving.transformer.online_store import build_online_store
from serving.transformer.relevance import Relevance
from serving.transformer.search import Search
from serving.transformer.server import TransformerServer
from serving.transformer.session import Session
from serving.transformer.store_watch import StoreWatch
from serving.transformer.triton_client import Triton
from serving.transformer.workers import listen, run_workers


def main() -> None:
    """Serve a release; KServe's own flags name the ports and the predictor.

    Exit codes: 0 stopped, 1 crash, 2 a release that is not as it was built, or not signed as asked.
    """
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    parser.add_argument("--release", type=Path, required=True, help="release folder")
    parser.add_argument("--state", type=Path, required=True, help="folder of the online store")
    parser.add_argument("--predictor_http", required=True, help="host:port of Triton's REST, to watch its models")
    parser.add_argument("--workers", type=_positive, default=1, help="processes that share the ports (default: 1)")
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on (default: loopback)")
    parser.add_argument(
        "--micro_batch", type=_positive, help="pairs that experts score in one call (default: the release's)"
    )
    parser.add_argument("--lane_places", type=_positive, default=1, help="requests at experts at once (default: 1)")
    parser.add_argument("--lane_waiting", type=_positive, default=8, help="requests that may wait for it (default: 8)")
    parser.add_argument(
        "--in_flight", type=_positive, default=IN_FLIGHT, help=f"inferences of a worker at once (default: {IN_FLIGHT})"
    )
    parser.add_argument(
        "--public_key",
        type=Path,
        default=os.environ.get(PUBLIC_KEY),
        help=f"PEM file: serve a release only if its owner signed it (default: variable {PUBLIC_KEY})",
    )
    parser.add_argument("--page", action="store_true", help="serve the search page, too: on loopback alone")
    add_options(parser)
    args = parser.parse_args()
    log.configure()
    with errors_in_one_line():
        if args.public_key:
            check_signature(args.release, args.public_key)
        release = open_release(args.release)
        check_versions(args.release)
        check_release(args.release)
        for port in (args.http_port, args.grpc_port):
            listen(args.host, port, shared=False).close()  # workers share a port, with nobody else
        if args.workers == 1:
            _serve(args, release)
        elif PROCESS_METRICS not in os.environ:
            raise BadInput(f"--workers={args.workers}: variable {PROCESS_METRICS} must name a folder for their metrics")
        else:
            run_workers(args.workers, partial(_serve, args, release))


def _serve(args: argparse.Namespace, release: Release, worker: int = 0) -> None:
    triton = Triton(args.predictor_host)
    health = ModelHealth(f"http://{args.predictor_http}", release.markets[0], recovers=worker == 0)
    lane = Lane(args.lane_places, args.lane_waiting)
    experts = Experts(triton, args.micro_batch or release.limits.micro_batch, lane)
    models: list[Model] = [Relevance(release, experts)]
    if release.has_search:
        # In a pod nobody has done so before.
        build = partial(build_online_store, release.features, args.state, os.environ.get(ONLINE_STORE), release.name)
        build()
        search = Search(release, args.state, triton, experts)
        models.append(search)
    health.start()
    page_of = release if args.page else None
    with observing(args, release, (lambda: search.features.as_of) if release.has_search else None) as observer:
        events = None
        if release.has_search:
            session = Session(args.state)
            StoreWatch(search.features, build, (search.features.reopen, session.reopen)).start()
            events = Events(search.catalogue, session, observer.log)
        ports = (args.http_port, args.grpc_port)
        server = TransformerServer(
            args.host,
            *ports,
            health,
            observer,
            events,
            release.name,
            page_of,
            in_flight=args.in_flight,
            shared_ports=args.workers > 1,
        )
        server.start(models)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(f"{number}: expected 1 or more")
    return number


if __name__ == "__main__":
    main()
