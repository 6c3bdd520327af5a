"""A query as it is asked has the key, and the router's trigrams, under which it was stored."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.errors import BadInput
from components.contracts.text import normalise_query, query_key, query_ngrams
from components.samples.inputs import normalised_queries
from serving.transformer.validation import RawInput, search_request

typed = st.text(
    st.one_of(
        st.characters(exclude_categories=("Cs",)),
        st.sampled_from("เก้ำําี่่ hoàuỷđÐñg͠ ’‘-–\u200b\u200d\u0301\u0309\u00ad\u3000\ufeff"),
    ),
    max_size=40,
)


@given(typed, typed)
def test_served_and_stored_keys_are_one(query: str, item: str) -> None:
    values = {"market": ["TH"], "user_id": ["u"], "query": [query], "item_ids": ["i"]}
    inputs = [RawInput(name, "BYTES", [1], [value.encode() for value in own]) for name, own in values.items()]
    try:
        asked = search_request(inputs, ["TH"])
    except BadInput:
        assert normalise_query(query) == ""
        return
    stored = normalised_queries(pa.chunked_array([[query, item, query]]))[0].as_py()
    assert query_key(asked.market, asked.query) == f"TH:{stored}" == query_key("TH", stored)
    np.testing.assert_array_equal(query_ngrams([asked.query], 512, 16), query_ngrams([stored], 512, 16))
