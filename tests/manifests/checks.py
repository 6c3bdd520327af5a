"""All that is held against a rendering: schemas, rules, the page's table of allowances."""

from collections.abc import Iterator, Sequence

from tests.manifests.controller import Manifest, made_by_kserve
from tests.manifests.network_rules import traffic_is_what_the_page_says
from tests.manifests.rules import RULES
from tests.manifests.schemas import Schemas


def problems(
    manifests: Sequence[Manifest], rendering: str, schemas: Schemas, valid: Sequence[Manifest] = ()
) -> list[str]:
    """What is wrong with a rendering; manifests that are in `valid` too are not validated again.

    What a schema refuses never reaches a controller: nothing further is said then.
    """
    invalid = _invalid(manifests, schemas, valid)
    if invalid:
        return invalid
    made = list(made_by_kserve(manifests))
    return [
        *_invalid(made, schemas, list(made_by_kserve(valid)) if valid else ()),
        *_broken_rules(manifests),
        *traffic_is_what_the_page_says(manifests, rendering),
    ]


def _invalid(manifests: Sequence[Manifest], schemas: Schemas, valid: Sequence[Manifest]) -> list[str]:
    return [problem for manifest in manifests if manifest not in valid for problem in schemas.problems(manifest)]


def _broken_rules(manifests: Sequence[Manifest]) -> Iterator[str]:
    for rule in RULES:
        yield from rule(manifests)
