"""What a tokenizer takes for its own marks, in texts that people wrote."""

import re

from tokenizers import Tokenizer


class ControlTokens:
    """The special tokens of a tokenizer (`<eos>`, `[SEP]`, `<|im_start|>`), which no query or title may become.

    A text that spells one is given a space inside it: what it says is still read, letter by letter (our choice). In
    whatever case, as some tokenizers lower it first.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
        longest_first = sorted((text.strip() for text in special if len(text.strip()) > 1), key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)", re.IGNORECASE)

    def broken(self, text: str) -> str:
        """The text without any; most have none, and stay what they are."""
        while self._spelled.search(text):
            text = self._spelled.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        return text
