"""What moved, in words: "median 195 -> 219 (+12%)", "Audio: 15% -> 9.3%". Numbers have three digits, shares two."""

import numpy as np


def spell_number(value: float) -> str:
    """Thousands apart, three digits below a hundred: 0.0123, 1.5, 219, 12,345."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e9):
        return f"{value:.2e}"
    decimals = 0 if abs(value) >= 100 else 2 - int(np.floor(np.log10(abs(value)))) if value else 0
    text = f"{value:,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def spell_briefly(value: float) -> str:
    """Three digits and no more: 12,300."""
    return spell_number(float(f"{value:.2e}"))


def spell_share(share: float) -> str:
    """A share in percent, with a digit after the point below ten."""
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def change_of_number(before: float, after: float) -> str:
    """Both, as briefly as shows a difference, and by how much."""
    said = [spell_briefly(before), spell_briefly(after)]
    if said[0] == said[1]:
        said = [spell_number(before), spell_number(after)]
    factor = f" ({after / before - 1:+.0%})" if before > 0 and 0.1 <= after / before < 10 else ""
    return " -> ".join(said) + factor


def change_of_share(before: float, after: float) -> str:
    """Both, as briefly as shows a difference."""
    said = [spell_share(before), spell_share(after)]
    return " -> ".join(said if said[0] != said[1] else (f"{before:.2%}", f"{after:.2%}"))
