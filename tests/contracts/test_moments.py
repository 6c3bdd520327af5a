"""What counts as now in a run."""

from datetime import UTC, datetime

import pytest

from components.contracts.errors import BadInput
from components.contracts.moments import moment_of_run, parse_moment

NAMED = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T07:00:00+07:00"])
def test_an_instant_is_utc(text: str) -> None:
    assert parse_moment(text, "as_of") == NAMED


@pytest.mark.parametrize("text", ["tomorrow", "2026-13-01", ""])
def test_a_bad_instant_is_named(text: str) -> None:
    with pytest.raises(BadInput, match=r"--as-of .*ISO 8601"):
        parse_moment(text, "--as-of")


def test_what_is_named_comes_before_the_schedule_and_that_before_the_clock() -> None:
    assert moment_of_run("2026-01-31", "2026-02-01T02:30:00Z") == NAMED
    assert moment_of_run("", "2026-01-31T00:00:00Z") == NAMED
    with pytest.raises(BadInput, match="as_of"):
        moment_of_run("tomorrow", "2026-01-31T00:00:00Z")


@pytest.mark.parametrize("scheduled", ["", "{{$.pipeline_job_schedule_time_utc}}"])
def test_a_server_that_gives_no_time_leaves_the_clock(scheduled: str) -> None:
    before = datetime.now(UTC)
    assert before <= moment_of_run("", scheduled) <= datetime.now(UTC)
