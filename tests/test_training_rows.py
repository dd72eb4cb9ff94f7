"""Parquet files, datasets of Hugging Face and WebDataset shards, as their own libraries write them, made into prepared datasets."""

from __future__ import annotations

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_data import prepared, refusal
from PIL import Image
from test_matrix_own import plan, problems

MATRIX = """\
[matrix]
dataset = "rows"
model = "simple_cnn"
strategy = "scratch"
[dataset.rows]
source = "{source}"
num_classes = 3
image_size = 16
color = "grey"
"""


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (value,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def table(first: int, count: int, label=lambda number: number % 3, image=None, **columns) -> pa.Table:
    numbers = range(first, first + count)
    image = image or (lambda number: {"bytes": png(number), "path": None})
    extra = {name: [of(number) for number in numbers] for name, of in columns.items()}
    return pa.table(
        {"image": [image(number) for number in numbers], "label": [label(number) for number in numbers], **extra}
    )


def features(names) -> dict[bytes, bytes]:
    label = {"_type": "ClassLabel", "names": names}
    return {b"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label}}}).encode()}


def parquet(folder, **splits):
    folder.mkdir(exist_ok=True)
    for name, rows in splits.items():
        pq.write_table(rows, folder / f"{name}-00000-of-00001.parquet")
    return folder


def shard(path, samples):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in samples:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def values(arrays, part):
    return arrays[f"{part}_images"][:, 4, 4, 0].tolist()


def test_parquet_files_as_hugging_face_writes_them_with_names_of_classes(tmp_path):
    names = ["rose", "tulip", "daisy"]
    parts = {
        name: table(*span).replace_schema_metadata(features(names))
        for name, span in {"train": (0, 12), "test": (20, 6), "validation": (40, 3)}.items()
    }
    folder = parquet(tmp_path / "own", **parts)
    arrays, meta = prepared(folder, tmp_path, source="parquet:own", validation="source")
    assert meta["class_names"] == names
    assert values(arrays, "train") == list(range(12))
    assert values(arrays, "test") == list(range(20, 26))
    assert values(arrays, "validation") == [40, 41, 42]
    assert arrays["train_labels"].tolist() == [number % 3 for number in range(12)]
    _, meta = prepared(folder, tmp_path, source="parquet:own")
    assert "parquet:own: the split validation is not used" in meta["notes"]


def test_one_parquet_file_is_split_by_groups_and_has_images_as_bytes_under_other_names(tmp_path):
    whole = table(0, 40, label=lambda number: "ab"[number % 2], image=png, site=lambda number: number // 4)
    whole = whole.rename_columns(["pixels", "kind", "site"])
    pq.write_table(whole, tmp_path / "own.parquet")
    wish = {"source": "parquet:own.parquet", "image_column": "pixels", "label_column": "kind", "groups": "site"}
    arrays, meta = prepared(tmp_path / "own.parquet", tmp_path, **wish)
    assert meta["class_names"] == ["a", "b"]
    assert not {value // 4 for value in values(arrays, "train")} & {value // 4 for value in values(arrays, "test")}
    assert sorted(values(arrays, "train") + values(arrays, "test")) == list(range(40))


def test_lists_of_labels_are_several_labels(tmp_path):
    folder = parquet(
        tmp_path / "own",
        train=table(0, 9, label=lambda number: list(range(number % 3 + 1))),
        test=table(20, 3, label=lambda _: [2]),
    )
    arrays, _ = prepared(folder, tmp_path, source="parquet:own", multi_label=True)
    assert arrays["train_labels"][:3].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert "train image 1: expected one label, found 2 labels; set multi_label = true" in refusal(
        folder, tmp_path, source="parquet:own"
    )


@pytest.mark.parametrize(
    ("parts", "changes", "expected"),
    [
        ({"train": table(0, 6).rename_columns(["image", "kind"])}, {}, "expected a column label or labels, or label_column, found image, kind"),
        ({"train": table(0, 6)}, {"label_column": "kind"}, "expected the column kind, as label_column says, found image, label"),
        ({"train": table(0, 6)}, {"groups": "site"}, "expected the column site, as groups says"),
        ({"test": table(0, 6)}, {}, "expected a split train, found test"),
        ({"train": table(0, 6)}, {"validation": "source"}, "expected a split validation beside train and test"),
        ({"train": table(0, 6, image=lambda number: b"no picture")}, {}, "train-00000-of-00001.parquet, row 0 cannot be read as JPEG or PNG"),
        ({"train": table(0, 6, label=lambda number: number - 1)}, {}, "train image 0: expected labels from 0 to 4, found -1"),
        ({"train": table(0, 6), "odd": table(0, 6)}, {}, "expected names that begin with a split (train, test, validation, val, valid, dev), found"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_parquet_files_is_said_with_its_place(tmp_path, parts, changes, expected):
    assert expected in refusal(parquet(tmp_path / "own", **parts), tmp_path, source="parquet:own", **changes)


def test_absent_and_damaged_parquet_files_are_named(tmp_path):
    assert "expected files *.parquet at" in refusal(tmp_path / "none", tmp_path, source="parquet:none")
    (tmp_path / "own.parquet").write_bytes(b"PAR1 nothing")
    assert "own.parquet cannot be read as Parquet" in refusal(
        tmp_path / "own.parquet", tmp_path, source="parquet:own.parquet"
    )


@pytest.mark.parametrize("kind", ["cls", "txt", "json"])
def test_shards_of_webdataset_have_labels_of_three_kinds(tmp_path, kind):
    label = {
        "cls": lambda n: str(n % 3),
        "txt": lambda n: ["x", "y", "z"][n % 3],
        "json": lambda n: json.dumps({"label": n % 3}),
    }[kind]
    for name, first, count in (("train-000000", 0, 6), ("train-000001", 6, 6), ("test-000000", 20, 3)):
        samples = [
            (f"a/{n:05}.{ending}", content)
            for n in range(first, first + count)
            for ending, content in (("png", png(n)), (kind, label(n).encode()))
        ]
        shard(tmp_path / "own" / f"{name}.tar", samples)
    arrays, _ = prepared(tmp_path / "own", tmp_path, source="webdataset:own")
    assert values(arrays, "train") == list(range(12))
    assert arrays["test_labels"].tolist() == [2, 0, 1]
    pattern = tmp_path / "own" / "train-{000000..000001}.tar"
    arrays, _ = prepared(pattern, tmp_path, source="webdataset:own/train-{000000..000001}.tar")
    assert sorted(values(arrays, "train") + values(arrays, "test")) == list(range(12))


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([("0.png", png(0))], "train.tar, 0: expected a label (.cls, .txt, or label of .json), found .png"),
        ([("0.cls", b"1")], "train.tar, 0: expected an image (.jpg, .jpeg, .png), found .cls"),
        ([("0.png", b"x"), ("0.cls", b"1")], "train.tar, 0 cannot be read as JPEG or PNG"),
        ([("0.png", png(0)), ("0.json", b"{")], "train.tar, 0.json: expected JSON"),
    ],
)
def test_what_is_wrong_with_a_shard_is_said_with_its_place(tmp_path, samples, expected):
    shard(tmp_path / "own" / "train.tar", samples)
    assert expected in refusal(tmp_path / "own", tmp_path, source="webdataset:own")
    (tmp_path / "own" / "train.tar").write_bytes(b"no tar at all" * 100)
    assert "train.tar cannot be read as a tar file" in refusal(tmp_path / "own", tmp_path, source="webdataset:own")


def test_datasets_of_hugging_face_are_read_from_where_they_were_saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["rose", "tulip", "daisy"])}
    )
    parts = {
        name: datasets.Dataset.from_dict(
            {
                "image": [{"bytes": png(n), "path": None} for n in range(first, first + count)],
                "label": [n % 3 for n in range(first, first + count)],
            },
            features=kinds,
        )
        for name, first, count in (("train", 0, 12), ("test", 20, 6), ("validation", 40, 3))
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "own")
    arrays, meta = prepared(tmp_path / "own", tmp_path, source="hf:own", validation="source")
    assert meta["class_names"] == ["rose", "tulip", "daisy"]
    assert (values(arrays, "train"), values(arrays, "validation")) == (list(range(12)), [40, 41, 42])
    parts["train"].save_to_disk(tmp_path / "alone")
    arrays, _ = prepared(tmp_path / "alone", tmp_path, source="hf:alone")
    assert sorted(values(arrays, "train") + values(arrays, "test")) == list(range(12))
    assert "nothing is downloaded here" in refusal(None, tmp_path, source="hf:no_such_dataset_anywhere")


@pytest.mark.parametrize("source", ["parquet:own", "hf:own", "hf:somebody/flowers", "webdataset:own"])
def test_sources_of_rows_are_planned_without_opening_a_file(tmp_path, source):
    (tmp_path / "own").mkdir()
    for ending in ("parquet", "tar"):
        for part in ("train", "test", "validation"):
            (tmp_path / "own" / f"{part}.{ending}").write_bytes(b"")
    (cell,) = plan(tmp_path, MATRIX.format(source=source)).cells
    assert cell.data.source == source
    assert (cell.data.location is None) == (source == "hf:somebody/flowers")
    assert "`num_classes`, because" in problems(tmp_path, MATRIX.format(source=source).replace("num_classes = 3\n", ""))
    assert plan(tmp_path, MATRIX.format(source=source) + 'validation = "source"\n').cells


def test_a_source_of_rows_without_a_validation_split_is_left_out(tmp_path):
    parquet(tmp_path / "own", train=table(0, 6), test=table(0, 6))
    (left_out,) = plan(tmp_path, MATRIX.format(source="parquet:own") + 'validation = "source"\n').left_out
    assert "parquet:own has no validation split" in left_out.reason
