"""What users did, sent back by callers: `POST /v1/events` checks it, pushes it into features and logs it."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from components.contracts.errors import BadInput
from serving.observe import metrics
from serving.observe.exchange import current, stage
from serving.observe.log_tables import IMPRESSION, Event
from serving.observe.serving_log import ServingLog
from serving.transformer.body import read_body
from serving.transformer.errors import Overloaded
from serving.transformer.session import Session
from serving.transformer.validation import MAX_ITEMS, Catalogue, check_ids

MAX_EVENTS = 1000
# Posts that may wait for the store; each takes milliseconds.
MAX_WAITING = 64
# A caller's clock may be ahead by this much; the event is then taken to happen now.
_SKEW = timedelta(seconds=60)
# Feature tables know no earlier time.
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
# Of the endpoint's page.
EXAMPLE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "example": {
                    "events": [
                        {
                            "type": "impression",
                            "user_id": "TH-user-3",
                            "item_id": "TH-12",
                            "request_id": "...",
                            "position": 1,
                        },
                        {"type": "click", "user_id": "TH-user-3", "item_id": "TH-12", "request_id": "..."},
                    ]
                }
            }
        },
    }
}


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["impression", "click", "cart", "purchase"]
    user_id: str
    item_id: str
    request_id: str | None = None
    domain: Literal["search", "rec", "shop"] = "search"
    event_id: str | None = None
    timestamp: AwareDatetime | None = None
    position: Annotated[int, Field(ge=1, le=MAX_ITEMS)] | None = None


class _Events(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    events: Annotated[list[_Event], Field(min_length=1, max_length=MAX_EVENTS)]


def read_events(body: bytes, catalogue: Catalogue, now: datetime) -> list[Event]:
    """The events of a JSON body.

    Raises:
        BadInput: a rule is broken; says where.
    """
    try:
        posted = _Events.model_validate_json(body).events
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        raise BadInput(f"{where or 'body'}: {first['msg']}") from error
    return [_checked(event, f"events[{place}]", catalogue, now) for place, event in enumerate(posted)]


def _checked(event: _Event, where: str, catalogue: Catalogue, now: datetime) -> Event:
    for name in ("user_id", "item_id", "request_id", "event_id"):
        if (value := getattr(event, name)) is not None:
            check_ids(f"{where}.{name}", [value])
    moment = event.timestamp or now
    if not _EARLIEST <= moment <= now + _SKEW:
        raise BadInput(f"{where}.timestamp: {moment.isoformat()}, expected from {_EARLIEST.year} until now")
    if event.type == IMPRESSION and event.request_id is None:
        raise BadInput(f"{where}.request_id: missing; an impression belongs to an answered request")
    if event.type != IMPRESSION and event.position is not None:
        raise BadInput(f"{where}.position: only an impression has one")
    if event.item_id not in catalogue:
        raise BadInput(f"{where}.item_id: not in this release's catalogue")
    return Event(
        event.event_id or uuid4().hex,
        event.user_id,
        event.item_id,
        event.domain,
        event.request_id,
        event.type,
        min(moment, now).astimezone(UTC),
        event.position,
    )


class Events:
    """The endpoint.

    Args:
        catalogue: of the release.
        session: where clicks and purchases are pushed.
        log: where events are logged, if they are.
    """

    def __init__(self, catalogue: Catalogue, session: Session, log: ServingLog | None) -> None:
        self._catalogue = catalogue
        self._session = session
        self._log = log
        # One thread: a user's events must not overtake each other between a read and a write.
        self._pusher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="session")
        self._waiting = 0

    async def post(self, request: Request) -> JSONResponse:
        """Take events in, all or none; when they are accepted, the next search of their users sees them."""
        events = read_events(await read_body(request), self._catalogue, datetime.now(UTC))
        current().items = len(events)
        await self._push(events)
        for event in events:
            metrics.EVENTS.labels(event.type).inc()
            if self._log is not None:
                self._log.offer(event)
        return JSONResponse({"accepted": len(events)})

    async def _push(self, events: Sequence[Event]) -> None:
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{self._waiting} posts of events wait already")
        self._waiting += 1
        try:
            with stage("push"):
                await asyncio.get_running_loop().run_in_executor(self._pusher, self._session.push, events)
        finally:
            self._waiting -= 1
