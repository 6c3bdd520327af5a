"""Published layouts, there and back: what is ingested loads as a log or as judgments, and is what the files say."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from components.contracts.errors import BadInput
from components.contracts.tools.manifest import read_manifest, tree_digest
from components.marketplace.logs.ingest import FORMATS, ingest
from components.marketplace.logs.load import check_log, load_judgments

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ingested(layout: str, source: Path, out: Path) -> dict[str, pd.DataFrame]:
    """The tables that were made; a second time makes the same bytes."""
    ingest(layout, source, out / "one")
    ingest(layout, source, out / "two")
    assert tree_digest(out / "one") == tree_digest(out / "two")
    return {path.stem: pq.read_table(path).to_pandas() for path in (out / "one").glob("*.parquet")}


def markets(out: Path) -> list[str]:
    profile = yaml.safe_load((out / "one" / "profile.yaml").read_text())
    assert profile["extends"] == "laptop"
    return list(profile["markets"])


def loads_as_a_log(out: Path, tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    """Nothing of it is refused or left out, beside judgments of one's own."""
    item = tables["items"].iloc[0]
    judgments = {"query_id": "q", "market": item["market"], "query": "any", "item_id": item["item_id"]}
    pd.DataFrame([{**judgments, "title": item["title"], "grade": 1.0}]).to_csv(tmp_path / "judgments.csv", index=False)
    log = check_log(out / "one", tmp_path / "judgments.csv", markets(out), NOW)
    assert log.dropped == []
    for name, table in tables.items():
        assert log.tables[name].num_rows == len(table)


def loads_as_judgments(out: Path, tmp_path: Path) -> None:
    load_judgments(out / "one" / "judgments.parquet", markets(out), tmp_path / "log")


def write_esci(folder: Path, examples: pd.DataFrame, products: pd.DataFrame) -> Path:
    folder.mkdir()
    examples = examples.assign(example_id=range(len(examples)), small_version=1, large_version=1)
    products = products.assign(product_description=None, product_bullet_point=None, product_color="red")
    examples.to_parquet(folder / "shopping_queries_dataset_examples.parquet")
    products.to_parquet(folder / "shopping_queries_dataset_products.parquet")
    return folder


EXAMPLES = pd.DataFrame(
    [
        ("kaos", 1, "B01", "us", "E", "train"),
        ("kaos", 1, "B02", "us", "S", "train"),
        ("camisa", 2, "B01", "es", "C", "test"),
        ("シャツ", 3, "B01", "jp", "I", "test"),
        ("シャツ", 3, "B03", "jp", "E", "test"),
        (" ", 4, "B01", "us", "E", "train"),
        ("x" * 600, 5, "B01", "us", "E", "train"),
    ],
    columns=["query", "query_id", "product_id", "product_locale", "esci_label", "split"],
)
PRODUCTS = pd.DataFrame(
    [
        ("B01", "Plain shirt", "Viora", "us"),
        ("B02", "Vest", None, "us"),
        ("B01", "Camisa lisa", "Viora", "es"),
        ("B01", "無地シャツ", "Viora", "jp"),
        ("B03", None, "Viora", "jp"),
    ],
    columns=["product_id", "product_title", "product_brand", "product_locale"],
)


def test_esci(tmp_path: Path) -> None:
    source = write_esci(tmp_path / "esci", EXAMPLES, PRODUCTS)
    rows = ingested("esci", source, tmp_path)["judgments"]
    assert list(zip(rows["query_id"], rows["market"], rows["item_id"], rows["title"], rows["grade"], strict=True)) == [
        ("1", "US", "US:B01", "Plain shirt", 1.0),
        ("1", "US", "US:B02", "Vest", 0.1),
        ("2", "ES", "ES:B01", "Camisa lisa", 0.01),
        ("3", "JP", "JP:B01", "無地シャツ", 0.0),
    ]
    assert rows["esci_split"].tolist() == ["train", "train", "test", "test"]
    assert markets(tmp_path) == ["ES", "JP", "US"]
    assert read_manifest(tmp_path / "one")["metrics"] == {
        "rows": 7, "blank_query": 1, "blank_title": 1, "too_long": 1, "repeated_pairs": 0, "judgments": 4,
    }  # fmt: skip
    loads_as_judgments(tmp_path, tmp_path)


def test_esci_of_real_judgments(shared_data: Path, tmp_path: Path) -> None:
    """Real queries, products and grades; the sample has no titles, so these are made up."""
    with gzip.open(shared_data / "esci_us" / "judgments.json.gz") as file:
        published = json.load(file)["judgmentRatings"]
    labels = {100.0: "E", 10.0: "S", 1.0: "C", 0.0: "I"}
    examples = pd.DataFrame(
        [
            (entry["query"], number, rating["docId"], "us", labels[float(rating["rating"])], "train")
            for number, entry in enumerate(published)
            for rating in entry["ratings"]
        ],
        columns=EXAMPLES.columns,
    )
    products = examples[["product_id", "product_locale"]].drop_duplicates()
    products = products.assign(product_title="Title of " + products["product_id"], product_brand=None)
    rows = ingested("esci", write_esci(tmp_path / "esci", examples, products), tmp_path)["judgments"]
    assert len(rows) == len(examples.drop_duplicates(["query_id", "product_id"]))
    assert rows["grade"].value_counts().to_dict() == pytest.approx(
        examples["esci_label"].map({"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}).value_counts().to_dict()
    )
    loads_as_judgments(tmp_path, tmp_path)


def test_wands(tmp_path: Path) -> None:
    source = tmp_path / "wands"
    source.mkdir()
    files = {
        "query": "query_id\tquery\tquery_class\n0\tsalon chair\tMassage Chairs\n1\tsmart coffee table\tCoffee Tables\n",
        "product": 'product_id\tproduct_name\tproduct_class\tproduct_description\n7\tChair\tChairs\t"a ""big"" one"\n'
        "8\tTable, oak\t\t\n9\t\t\t\n",
        "label": "id\tquery_id\tproduct_id\tlabel\n0\t0\t7\tExact\n1\t0\t8\tIrrelevant\n2\t1\t8\tPartial\n"
        "3\t1\t8\tExact\n4\t1\t9\tExact\n5\t3\t7\tExact\n",
    }
    for name, text in files.items():
        (source / f"{name}.csv").write_text(text)
    rows = ingested("wands", source, tmp_path)["judgments"]
    assert list(zip(rows["query"], rows["item_id"], rows["title"], rows["grade"], strict=True)) == [
        ("salon chair", "7", "Chair", 1.0),
        ("salon chair", "8", "Table, oak", 0.0),
        ("smart coffee table", "8", "Table, oak", 0.75),
    ]
    assert read_manifest(tmp_path / "one")["metrics"] == {
        "rows": 6, "blank_query": 1, "blank_title": 1, "too_long": 0, "repeated_pairs": 1, "judgments": 3,
    }  # fmt: skip
    assert markets(tmp_path) == ["US"]
    loads_as_judgments(tmp_path, tmp_path)


def test_jdsearch_of_real_rows(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "jdsearch_sample"
    tables = ingested("jdsearch", source, tmp_path)
    raw = pd.read_csv(source / "user_behavior_data_sample.txt", sep="\t", dtype=str)
    known = set(tables["items"]["item_id"])
    displayed = [
        (wid, float(label))
        for wids, labels in zip(raw["candidate_wid_list"], raw["candidate_label_list"], strict=True)
        for wid, label in zip(wids.split("_"), labels.split("_"), strict=True)
        if wid in known
    ]
    assert len(tables["candidates"]) == len(displayed) == 262
    events = tables["events"]
    in_search, before = events[events["domain"] == "search"], events[events["domain"] == "shop"]
    assert (in_search["type"] == "click").sum() == sum(label >= 1 for _, label in displayed)
    assert (in_search["type"] == "purchase").sum() == sum(label == 3 for _, label in displayed)
    history = [wid for wids in raw["history_wid_list"] for wid in wids.split("_")]
    counts = read_manifest(tmp_path / "one")["metrics"]
    assert len(before) == sum(wid in known for wid in history)
    assert len(before) + counts["history_without_product"] + counts["history_of_other_types"] == len(history)
    first = before[before["user_id"] == "u1"]
    seconds = (pd.Timestamp("2023-01-01", tz="UTC") - first["timestamp"].min()).total_seconds()
    intervals = [float(text) for text in raw["history_time_list"][0].split("_")]
    assert seconds <= sum(intervals)
    assert first["timestamp"].is_monotonic_increasing
    assert markets(tmp_path) == ["CN"]
    loads_as_a_log(tmp_path, tables, tmp_path)


JD_HEADER = "query\tcandidate_wid_list\tcandidate_label_list\thistory_qry_list\thistory_wid_list\thistory_type_list\thistory_time_list\n"  # noqa: E501
JD_PRODUCTS = "wid\tname\tbrand_id\tbrand_name\tcate_id_1\n456\t1\x182\t5\t6\t9\n457\t3\t5\t6\t9\n889\t4\t5\t6\t9\n"


def test_jdsearch_as_its_page_explains_it(tmp_path: Path) -> None:
    source = tmp_path / "jd"
    source.mkdir()
    row = "12\x1832\t456_457_789\t3.0_0.0_1.0\t323\x18328_-1_12\t889_889_345\tORD_FLW_CART\t0_12_4_5\n"
    new = "7\t457\t2.0\t\t\t\t0\n"
    (source / "user_behavior_data.txt").write_text(JD_HEADER + row + new)
    (source / "product_meta_data.txt").write_text(JD_PRODUCTS)
    tables = ingested("jdsearch", source, tmp_path)
    assert tables["requests"]["query"].tolist() == ["12 32", "7"]
    assert tables["candidates"].to_numpy().tolist() == [["r1", "456", 1], ["r1", "457", 2], ["r2", "457", 1]]
    events = tables["events"]
    assert events[["user_id", "item_id", "domain", "type"]].to_numpy().tolist() == [
        ["u1", "889", "shop", "purchase"],
        ["u1", "456", "search", "click"],
        ["u1", "456", "search", "purchase"],
        ["u2", "457", "search", "click"],
        ["u2", "457", "search", "cart"],
    ]
    assert events["query"].tolist()[0] == "323 328"
    assert events["timestamp"][0] == pd.Timestamp("2023-01-01", tz="UTC") - pd.Timedelta(seconds=21)
    counts = read_manifest(tmp_path / "one")["metrics"]
    assert (counts["candidates_without_product"], counts["history_of_other_types"]) == (1, 1)
    assert counts["history_without_product"] == 1
    loads_as_a_log(tmp_path, tables, tmp_path)
    for broken in (row.replace("0_12_4_5", "0_12"), row.replace("3.0", "x"), row.replace("_5", "_soon")):
        (source / "user_behavior_data.txt").write_text(JD_HEADER + broken)
        with pytest.raises(BadInput, match=r"lists of unequal length, .* in 1 of 1 rows \(first: row 1\)"):
            ingest("jdsearch", source, tmp_path / "three")


def test_kuaisar(tmp_path: Path) -> None:
    source = tmp_path / "kuaisar"
    source.mkdir()
    files = {
        "src_inter": "user_id,search_session_id,search_session_time,search_session_timestamp,keyword,search_source,"
        "item_id,click_cnt,item_type\n"
        '1,5,2023-05-22 21:58:52,1684763932919.0,"[20, 34]",USER_INPUT,11,0,VIDEO\n'
        '1,5,2023-05-22 21:58:52,1684763932919.0,"[20, 34]",USER_INPUT,12,2,VIDEO\n'
        '1,5,2023-05-22 21:58:52,1684763932919.0,"[20, 34]",USER_INPUT,99,1,USER\n'
        "2,6,2023-05-22 21:58:53,1684763933919.0,[],USER_INPUT,11,1,VIDEO\n",
        "rec_inter": "user_id,item_id,playing_time,duration_ms,time,timestamp,click,forward\n"
        "1,11,60792.0,45400.0,2023-05-22 15:53:20,1684742000000.0,1,0\n"
        "2,12,1.0,45400.0,2023-05-22 15:53:20,1.684742e+12,0,0\n"
        "3,12,1.0,45400.0,2023-05-22 15:53:20,1.684742e+12,0,0\n",
        "user_features": "user_id,search_active_level,rec_active_level,onehot_feat1\n1,1,2,0\n2,0,1,0\n",
        "item_features": "item_id,caption,author_id,item_type,first_level_category_name_en\n"
        '11,"[1, 213]",10,NORMAL,Funny\n12,[7],10,NORMAL,\n13,[],10,NORMAL,Funny\n',
    }
    for name, text in files.items():
        (source / f"{name}.csv").write_text(text)
    tables = ingested("kuaisar", source, tmp_path)
    assert tables["items"][["item_id", "title", "category"]].to_numpy().tolist() == [
        ["11", "1 213", "Funny"],
        ["12", "7", "-"],
    ]
    requests = tables["requests"]
    assert requests[["request_id", "user_id", "domain"]].to_numpy().tolist() == [
        ["r1", "1", "rec"],
        ["r2", "2", "rec"],
        ["s5", "1", "search"],
    ]
    assert requests["query"].tolist() == [None, None, "20 34"]
    assert requests["timestamp"][2] == pd.Timestamp(1684763932919, unit="ms", tz="UTC")
    assert tables["candidates"].to_numpy().tolist() == [
        ["r1", "11", 1],
        ["r2", "12", 1],
        ["s5", "11", 1],
        ["s5", "12", 2],
    ]
    assert tables["events"][["request_id", "item_id", "type"]].to_numpy().tolist() == [
        ["r1", "11", "click"],
        ["s5", "12", "click"],
    ]
    counts = read_manifest(tmp_path / "one")["metrics"]
    assert [counts[name] for name in ("shown", "shown_without_caption", "shown_to_unknown_users")] == [7, 1, 1]
    assert (counts["searches_without_words"], counts["shown_twice"]) == (1, 0)
    loads_as_a_log(tmp_path, tables, tmp_path)


def test_open_bandit_of_real_rows(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "open_bandit_bts"
    tables = ingested("obd", source, tmp_path)
    raw = {name: pd.read_csv(source / f"bts_{name}.csv.gz", float_precision="round_trip") for name in ("men", "women")}
    assert len(tables["requests"]) == len(tables["candidates"]) == sum(len(rows) for rows in raw.values()) == 20_000
    assert len(tables["events"]) == sum(rows["click"].sum() for rows in raw.values())
    expected = pd.concat(raw.values())
    assert tables["candidates"]["position"].tolist() == expected["position"].tolist()
    assert tables["candidates"]["propensity_score"].tolist() == expected["propensity_score"].tolist()
    assert tables["users"]["user_id"].nunique() == len(
        expected.drop_duplicates([f"user_feature_{n}" for n in range(4)])
    )
    assert markets(tmp_path) == ["JP"]
    loads_as_a_log(tmp_path, tables, tmp_path)


def test_open_bandit_in_the_published_folders(shared_data: Path, tmp_path: Path) -> None:
    for campaign in ("men", "women"):
        folder = tmp_path / "bts" / campaign
        folder.mkdir(parents=True)
        sample = shared_data / "open_bandit_bts"
        (folder / "item_context.csv").write_bytes((sample / f"bts_{campaign}_item_context.csv").read_bytes())
        (folder / f"{campaign}.csv.gz").write_bytes((sample / f"bts_{campaign}.csv.gz").read_bytes())
    ingest("obd", tmp_path / "bts", tmp_path / "out")
    assert set(pq.read_table(tmp_path / "out" / "requests.parquet")["campaign"].to_pylist()) == {"men", "women"}


@pytest.mark.parametrize("layout", sorted(set(FORMATS) - {"analyticup"}))
def test_folders_without_the_layout_are_refused(layout: str, tmp_path: Path) -> None:
    for source in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(BadInput, match=r"no such folder|no file|expected one file"):
            ingest(layout, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
