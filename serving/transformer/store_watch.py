"""The online store, looked at once a second: used again when it answers, built anew when it has lost something."""

import threading
import time
from collections.abc import Callable, Sequence

from components.contracts.errors import ArchipelagoError
from components.contracts.tools.log import get_logger
from serving.transformer.online_store import OnlineFeatures

_PERIOD_S = 1.0
_logger = get_logger(__name__)


class StoreWatch:
    """Keeps `OnlineFeatures.failing` true to the store, in a thread of its own.

    Args:
        features: what is watched.
        rebuild: checks the store, and builds it anew where it has lost something.
        reopen: connects anew, everybody who has a connection.
    """

    def __init__(
        self, features: OnlineFeatures, rebuild: Callable[[], None], reopen: Sequence[Callable[[], None]]
    ) -> None:
        self._features = features
        self._rebuild = rebuild
        self._reopen = reopen

    def start(self) -> None:
        """Begin to watch; the thread ends with the process."""
        threading.Thread(target=self._watch, name="store-watch", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(_PERIOD_S)
            before = self._features.failing
            self._features.check()
            if self._features.failing and not before:
                _logger.warning("%s", self._features.failing)
            if self._features.failing:
                self._restore()

    def _restore(self) -> None:
        try:
            self._rebuild()
            for reopen in self._reopen:
                reopen()
        except (ArchipelagoError, OSError) as error:
            _logger.debug("online store: not yet: %s", error)
            return
        self._features.check()
        if not self._features.failing:
            _logger.info("online store answers again")
