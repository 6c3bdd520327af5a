"""The public face of a release: a KServe transformer with the models `search` and `relevance`.

It checks requests, reads features, asks Triton over gRPC and sorts the page. It runs in a process of its own: KServe
and Triton's own client cannot be imported together.
"""

import argparse
from pathlib import Path

from kserve import Model, model_server

from components.contracts.tools import log
from serving.release import open_release
from serving.transformer.health import ModelHealth
from serving.transformer.models import Relevance, Search
from serving.transformer.online_store import build_online_store
from serving.transformer.server import TransformerServer
from serving.transformer.triton_client import Triton


def main() -> None:
    """Serve a release; KServe's own flags name the ports and the predictor."""
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    parser.add_argument("--release", type=Path, required=True, help="release folder")
    parser.add_argument("--state", type=Path, required=True, help="folder of the online store")
    parser.add_argument("--predictor_http", required=True, help="host:port of Triton's REST, to watch its models")
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on (default: loopback)")
    args = parser.parse_args()
    log.configure()
    release = open_release(args.release)
    triton = Triton(args.predictor_host)
    health = ModelHealth(f"http://{args.predictor_http}", release.markets[0])
    models: list[Model] = [Relevance(release, triton)]
    if release.has_search:
        build_online_store(release.features, args.state)  # in a pod nobody has done so before
        models.append(Search(release, args.state, triton))
    health.start()
    TransformerServer(args.host, args.http_port, args.grpc_port, health).start(models)


if __name__ == "__main__":
    main()
