"""Folders of images whose labels stand in a table: what becomes of them, and what is said of tables that are not as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from own_data import draw, prepared, refusal

ROWS = [
    ("a/0.png", "rose"),
    ("a/1.png", "rose"),
    ("b/2.png", "tulip"),
    ("b/3.png", "tulip"),
    ("c/4.png", "daisy"),
    ("c/5.png", "daisy"),
]
TABLE = "file,label\n" + "".join(f"{file},{label}\n" for file, label in ROWS)
SPLIT = "file,label,split,site\n" + "".join(
    f"{file},{label},{('train', 'test')[number % 2]},s{number}\n" for number, (file, label) in enumerate(ROWS)
)


@pytest.fixture
def root(tmp_path):
    for number, (file, _) in enumerate(ROWS):
        draw(tmp_path / "own" / file, 10 + number)
    return tmp_path / "own"


def put(root, text, name="labels.csv", encoding="utf-8"):
    (root / name).write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return root


def read(root, tmp_path, **changes):
    return prepared(root, tmp_path, labels_file="labels.csv", **changes)


def said(root, tmp_path, **changes):
    return refusal(root, tmp_path, labels_file="labels.csv", **changes)


def brightness(arrays, part):
    return arrays[f"{part}_images"][:, 0, 0, 0].tolist()


def test_a_table_gives_labels_and_a_share_of_each_class_is_for_the_test(root, tmp_path):
    arrays, meta = read(put(root, TABLE), tmp_path)
    assert meta["class_names"] == ["daisy", "rose", "tulip"]
    assert sorted(arrays["test_labels"].tolist()) == sorted(arrays["train_labels"].tolist()) == [0, 1, 2]
    assert sorted(brightness(arrays, "train") + brightness(arrays, "test")) == [10, 11, 12, 13, 14, 15]


def test_a_column_split_says_what_each_image_is_for_and_class_names_number_the_labels(root, tmp_path):
    arrays, meta = read(put(root, SPLIT), tmp_path, class_names=["tulip", "rose", "daisy"], test_fraction=0.5)
    assert brightness(arrays, "train") == [10, 12, 14]
    assert brightness(arrays, "test") == [11, 13, 15]
    assert arrays["train_labels"].tolist() == arrays["test_labels"].tolist() == [1, 0, 2]
    assert "folder:own: test_fraction is not used, because there is a split test" in meta["notes"]


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + TABLE,
        TABLE.replace("\n", "\r\n"),
        TABLE.replace("\n", "\r\n\r\n"),
        TABLE.replace("rose", '"rose"').replace("file,label", '"File","Labels"'),
        TABLE.replace(",", " ,\t"),
        "label,file\n" + "".join(f"{label},./{file}\n" for file, label in ROWS),
        TABLE.rstrip("\n"),
    ],
    ids=["mark", "dos", "empty lines", "quoted", "blanks", "other order", "no last line end"],
)
def test_tables_are_read_however_programs_write_them(root, tmp_path, content):
    plain, _ = read(put(root, TABLE), tmp_path)
    arrays, meta = read(put(root, content), tmp_path)
    assert meta["class_names"] == ["daisy", "rose", "tulip"]
    assert all((arrays[name] == plain[name]).all() for name in plain)


def test_names_with_commas_quotes_and_accents_are_those_of_the_table(root, tmp_path):
    text = TABLE.replace("rose", '"a ""rose"", red"').replace("tulip", "cafe\N{COMBINING ACUTE ACCENT}")
    _, meta = read(put(root, text), tmp_path)
    assert meta["class_names"] == ['a "rose", red', "café", "daisy"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "labels.csv: expected a row for each image, found an empty file"),
        ("file,label\n", "found only the line of column names"),
        (TABLE.replace("label", "class", 1), "line 1: expected the columns file and label (or labels), and maybe split, found no label among: file, class"),
        (TABLE.replace(",", ";"), "found no file and no label among: file;label; separate columns by commas"),
        (TABLE.replace("file,label", "file,label,label"), "found label twice"),
        (TABLE.replace("a/1.png,rose", "a/1.png"), "line 3: expected 2 fields, as the first line has, found 1"),
        (TABLE.replace("a/1.png,rose", "a/1.png,rose,red"), "line 3: expected 2 fields, as the first line has, found 3; quote fields"),
        (TABLE.replace("a/1.png", "/etc/1.png"), "line 3: expected a path below the folder of images, found '/etc/1.png'"),
        (TABLE.replace("a/1.png", "a/../../1.png"), "line 3: expected a path below the folder of images"),
        (TABLE.replace("a/1.png", "a/0.png"), "line 3: expected each file once, found a/0.png again (line 2); several labels"),
        (TABLE.replace("a/1.png", ""), "line 3: expected the name of a file, found none"),
        (TABLE.replace("a/1.png,rose", "a/1.png,"), "line 3: expected a label, found none"),
        (TABLE.replace("a/1.png", "a/1.PNG"), "line 3: expected the image a/1.PNG in"),
        (TABLE.replace("a/1.png", "A/1.png"), "No such file or directory"),
        (TABLE.replace("a/1.png,rose", "a/1.png,rose;tulip"), "line 3: expected one label, found 2; set multi_label = true"),
        (TABLE.replace("a/1.png", '"a/1.png'), "expected a row of a CSV file"),
        (TABLE.encode("utf-16"), "expected text in UTF-8"),
        (SPLIT.replace("train,s2", "training,s2"), "line 4: expected train, val or test as split, found 'training'"),
        (SPLIT.replace("train,", "test,"), "expected images of the split train in"),
        (SPLIT.replace("train,s2", "test,s2"), "expected training images of every class in"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_as_it_should_be_is_refused_with_file_and_line(root, tmp_path, content, expected):
    message = said(put(root, content), tmp_path)
    assert expected in message
    assert "labels.csv" in message


def test_a_near_name_of_a_missing_image_is_shown(root, tmp_path):
    assert "; there is 1.png; bring it" in said(put(root, TABLE.replace("a/1.png", "a/1.PNG")), tmp_path)


def test_labels_that_class_names_do_not_have_are_refused(root, tmp_path):
    message = said(put(root, TABLE), tmp_path, class_names=["rose", "tulip"])
    assert "line 6: expected labels of class_names (rose, tulip), found 'daisy'" in message


def test_absent_tables_and_damaged_images_are_named(root, tmp_path):
    assert "expected a table of labels labels.csv in" in said(root, tmp_path)
    (root / "a/1.png").write_bytes(b"no picture")
    assert f"{root}/a/1.png cannot be read as JPEG or PNG" in said(put(root, TABLE), tmp_path)
    assert "found the absolute /labels.csv" in refusal(root, tmp_path, labels_file="/labels.csv")


def test_an_edited_label_makes_other_data_and_a_touched_file_does_not(root, tmp_path):
    _, first = read(put(root, SPLIT), tmp_path)
    _, again = read(put(root, SPLIT + "\n"), tmp_path)
    text = SPLIT.replace("a/0.png,rose", "a/0.png,tulip").replace("b/2.png,tulip", "b/2.png,rose")
    _, other = read(put(root, text), tmp_path)
    assert first["fingerprint"] == again["fingerprint"] != other["fingerprint"]


def test_several_labels_an_image_are_rows_of_0_and_1(root, tmp_path):
    text = SPLIT.replace("a/0.png,rose", "a/0.png,rose; tulip;rose").replace("a/1.png,rose", "a/1.png,")
    arrays, _ = read(put(root, text), tmp_path, multi_label=True)
    assert arrays["train_labels"].dtype == np.uint8
    assert arrays["train_labels"].tolist() == [[0, 1, 1], [0, 0, 1], [1, 0, 0]]
    assert arrays["test_labels"].tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_the_sources_own_validation_split_is_an_array_of_its_own_and_else_said_to_be_unused(root, tmp_path):
    text = SPLIT.replace("test,s1", "val,s1")
    arrays, meta = read(put(root, text), tmp_path)
    assert brightness(arrays, "test") == [13, 15]
    assert "folder:own: 1 images of the split val are not used" in meta["notes"]
    arrays, other = read(root, tmp_path, validation="source")
    assert brightness(arrays, "validation") == [11]
    assert arrays["validation_labels"].tolist() == [1]
    assert other["fingerprint"] != meta["fingerprint"]
    message = said(put(root, SPLIT.replace("test", "val")), tmp_path, validation="source")
    assert "expected images of the split val beside those of test for validation" in message


def test_no_group_is_divided_between_training_and_test(tmp_path):
    root, rows = tmp_path / "own", []
    for number in range(60):
        draw(root / f"{number}.png", number)
        rows.append(f"{number}.png,{'ab'[number % 2]},p{number // 4}")
    put(root, "file,label,Patient\n" + "\n".join(rows))
    arrays, _ = read(root, tmp_path, groups="patient")
    trained, tested = (set(arrays[f"{part}_groups"].tolist()) for part in ("train", "test"))
    assert not trained & tested
    assert sorted(trained | tested) == list(range(15))
    assert np.bincount(arrays["test_labels"]).tolist() == [6, 6]
    by_place = {value // 4 for value in brightness(arrays, "test")}
    assert by_place == {int(name[1:]) for name in (sorted(f"p{n}" for n in range(15))[group] for group in tested)}
    assert "line 1: expected the column site, which `groups` names, found file, label, Patient" in said(
        root, tmp_path, groups="site"
    )


def test_a_column_split_that_divides_a_group_is_refused(root, tmp_path):
    message = said(put(root, SPLIT.replace("s3", "s0")), tmp_path, groups="site")
    assert (
        "line 5: the group 's0' of `site` is in test here and in train in line 2: expected each group in one split"
        in message
    )


def test_labels_that_differ_in_case_alone_are_said(root, tmp_path):
    _, meta = read(put(root, TABLE.replace("tulip", "Rose")), tmp_path)
    assert meta["notes"][0] == "folder:own: labels that differ in case alone are different classes: Rose and rose"
