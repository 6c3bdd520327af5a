"""KServe's model server, made to listen where it is told, with both protocols as this service speaks them."""

import asyncio
import logging
import signal

from kserve import ModelServer
from kserve.model import BaseKServeModel

from serving.observe.observer import Observer
from serving.release import Release
from serving.transformer.admission import IN_FLIGHT, Admission
from serving.transformer.dataplane import FixedModels, TransformerDataPlane
from serving.transformer.events import Events
from serving.transformer.grpc_server import TransformerGRPCServer
from serving.transformer.health import ModelHealth
from serving.transformer.rest import TransformerRESTServer, application
from serving.transformer.workers import listen

# A request's own limit, and what it takes to send the last answer.
GRACE_S = 32
_CHECK_S = 0.05


class TransformerServer(ModelServer):  # type: ignore[misc]
    """A model server on one interface.

    Args:
        host: interface to listen on.
        http_port, grpc_port: its ports.
        health: of the models behind it, asked for its own readiness and for what a failure means.
        observer: told of every request.
        events: the endpoint that takes them; none for a release that does not search.
        version: of its models: the release's digest.
        page_of: the release whose search page is served, too.
        in_flight: inferences that are taken on at once.
        shared_ports: whether other processes listen on the ports, too.
    """

    def __init__(
        self,
        host: str,
        http_port: int,
        grpc_port: int,
        health: ModelHealth,
        observer: Observer,
        events: Events | None,
        version: str,
        page_of: Release | None = None,
        in_flight: int = IN_FLIGHT,
        shared_ports: bool = False,
    ) -> None:
        super().__init__(http_port=http_port, grpc_port=grpc_port, grace_period=GRACE_S, enable_latency_logging=False)
        logging.getLogger("kserve.trace").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
        self.host = host
        self._observer = observer
        self._events = events
        self._page_of = page_of
        self._admission = Admission(in_flight)
        self._shared_ports = shared_ports
        self.dataplane = TransformerDataPlane(self.registered_models, health, version)
        self.model_repository_extension = FixedModels(self.registered_models)

    def start(self, models: list[BaseKServeModel]) -> None:
        """Serve the models until SIGTERM or SIGINT; then answer what has been asked, at most GRACE_S long."""
        self._register_and_check_atleast_one_model_is_ready(models)
        app = application(
            self.dataplane,
            self.model_repository_extension,
            self._observer,
            self._admission,
            self._events,
            self._page_of,
        )
        self._rest_server = TransformerRESTServer(
            app, listen(self.host, self.http_port, self._shared_ports), self.grace_period
        )
        self._grpc_server = TransformerGRPCServer(
            self.host,
            self._observer,
            self._admission,
            self._shared_ports,
            self.grpc_port,
            self.dataplane,
            self.model_repository_extension,
            kwargs={},
            grace_period=self.grace_period,
        )
        self.servers = [self._rest_server.start(), self._grpc_server.start(self.max_threads), self._end_when_told()]
        asyncio.run(self._serve())

    async def _end_when_told(self) -> None:
        """End both protocols at once, and say meanwhile that the service is not ready.

        KServe ends one after the other, and takes the models away from requests that wait for them.
        """
        http = self._rest_server._server
        while not http.started:  # uvicorn listens to signals from then on: ours must come after
            await asyncio.sleep(_CHECK_S)
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        await told.wait()
        self.dataplane.ending = True
        http.should_exit = True
        await self._grpc_server.stop()
