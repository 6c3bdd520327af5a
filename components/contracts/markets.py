"""The six markets, the three domains, and the integer codes that models and features use for them."""

from collections.abc import Sequence

MARKETS: tuple[str, ...] = ("ID", "MY", "PH", "SG", "TH", "VN")
DOMAINS: tuple[str, ...] = ("search", "rec", "shop")

DOMAIN_CODES: dict[str, int] = {name: code for code, name in enumerate(DOMAINS)}


def market_codes(markets: Sequence[str]) -> dict[str, int]:
    """Codes of a profile's markets: their place in the profile's list, 0-based."""
    return {name: code for code, name in enumerate(markets)}
