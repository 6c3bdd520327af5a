"""Small tokenizers."""

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import Replace
from tokenizers.processors import TemplateProcessing


def bpe(merges: list[tuple[str, str]]) -> Tokenizer:
    """A byte-pair tokenizer that, like Gemma's, splits nowhere before it merges."""
    pieces = dict.fromkeys([*"▁:abcitemquery", "\n", "<bos>", *("".join(pair) for pair in merges)])
    tokenizer = Tokenizer(BPE({piece: place for place, piece in enumerate(pieces)}, merges))
    tokenizer.normalizer = Replace(" ", "▁")
    tokenizer.add_special_tokens(["<bos>"])
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
    )
    return tokenizer


class Counted:
    """A tokenizer that counts the texts it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.texts = tokenizer, 0

    def __getattr__(self, name: str):
        return getattr(self._tokenizer, name)

    def encode(self, text: str, **options):
        self.texts += 1
        return self._tokenizer.encode(text, **options)

    def encode_batch_fast(self, texts: list[str], **options):
        self.texts += len(texts)
        return self._tokenizer.encode_batch_fast(texts, **options)
