"""Users' own datasets and models as a matrix names them: planned without opening a picture or running a line."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_data import classes

from benchmark.catalog.source_files.npz_headers import array_facts
from benchmark.errors import MatrixError, UserError
from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import cell_id_of
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan
from benchmark.matrix.reading.plugins import defined_names
from benchmark.matrix.trust import exposure, require_consent, trust_file, trusted_digests

FOLDER = """\
[matrix]
dataset = "own"
model = "simple_cnn"
strategy = "scratch"
[dataset.own]
source = "folder:pictures"
image_size = 16
color = "rgb"
"""
PLUGIN = """\
[matrix]
dataset = "digits"
model = "mine"
strategy = "scratch"
[plugins]
models = ["my.py"]
[model.mine]
architecture = "plugin:net"
width = 8
"""


def plan(folder: Path, text: str) -> Plan:
    (folder / "matrix.toml").write_text(text)
    return load_matrix(folder / "matrix.toml", machine_kind=MachineKind(gpus=0, cores=2))


def only(folder: Path, text: str) -> Cell:
    (cell,) = plan(folder, text).cells
    assert cell_id_of(cell) == cell.cell_id
    assert Cell.from_dict(cell.to_dict()) == cell
    return cell


def problems(folder: Path, text: str) -> str:
    with pytest.raises(MatrixError) as caught:
        plan(folder, text)
    return str(caught.value)


@pytest.fixture
def pictures(tmp_path):
    classes(tmp_path / "pictures", {"a": 2, "b": 2, "c": 2})
    return tmp_path


# ---- datasets


def test_class_folders_are_counted_when_the_matrix_does_not_say_how_many(pictures):
    cell = only(pictures, FOLDER)
    assert cell.data.num_classes == 3
    assert cell.data.source == "folder:pictures"
    assert cell.data.location == str(pictures / "pictures")


def test_relative_paths_start_at_the_matrix_whatever_the_folder_one_is_in(pictures, monkeypatch):
    monkeypatch.chdir(pictures.parent)
    assert only(pictures, FOLDER).data.location == str(pictures / "pictures")
    monkeypatch.setenv("HOME", str(pictures))
    at_home = only(pictures, FOLDER.replace("folder:pictures", "folder:~/pictures"))
    assert at_home.data.location == str(pictures / "pictures")


def test_a_matrix_and_its_pictures_move_together_and_keep_their_ids(pictures, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    classes(other / "pictures", {"x": 2, "y": 2, "z": 2})
    assert only(other, FOLDER).cell_id == only(pictures, FOLDER).cell_id
    (pictures / "pictures").rename(pictures / "moved")
    moved = FOLDER.replace("folder:pictures", "folder:moved")
    assert only(pictures, moved).cell_id != only(other, FOLDER).cell_id


def test_a_version_stands_for_the_path(pictures):
    classes(pictures / "moved", {"a": 2, "b": 2, "c": 2})
    first = FOLDER + 'version = "1"\n'
    second = first.replace("folder:pictures", "folder:moved")
    assert only(pictures, first).cell_id == only(pictures, second).cell_id
    assert only(pictures, first).cell_id != only(pictures, first.replace('"1"', '"2"')).cell_id


def test_what_is_written_needs_no_files(tmp_path):
    assert only(tmp_path, FOLDER + "num_classes = 4\n").data.num_classes == 4
    told = problems(tmp_path, FOLDER)
    assert f"dataset.own.source: expected a folder of class folders at {tmp_path}/pictures" in told
    assert (
        "No such file or directory; correct the path (relative ones start at the matrix file); or state num_classes"
        in told
    )
    assert "expected `num_classes`" not in told


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("image_size = 16\n", ""), "dataset.own.image_size: expected `image_size`, because nothing can be told from"),
        (('color = "rgb"\n', ""), "dataset.own.color: expected `color`"),
        (("image_size", "num_classes = 4\nimage_size"), "dataset.own.num_classes: expected 3, the class folders of"),
        (("image_size", 'class_names = ["a", "b"]\nimage_size'), "expected 3, the class folders of"),
        (("image_size", 'class_names = ["a", "a"]\nimage_size'), "expected at least two names, each once"),
        (("image_size", "test_fraction = 1\nimage_size"), "test_fraction: expected a number > 0 and < 1"),
        (("folder:pictures", "folder:pictures/a"), "at least two class folders"),
        (("folder:pictures", "digits"), "ok"),
        (("image_size", 'version = "2"\nnum_classes = 4\nimage_size'), "expected 3"),
        (('"folder:pictures"', '"digits"\nversion = "1"'), "no `version`, which is for folder:PATH and npz:PATH"),
        (('"folder:pictures"', '"digits"\ntest_fraction = 0.5'), "no `test_fraction`: digits has a test set"),
        (("folder:pictures", "folder:a\\nb"), "expected a data source"),
        (("folder:pictures", "folders:a"), "expected digits, tfds:NAME, folder:PATH, npz:PATH"),
        (("image_size", "classes = [0, 3]\nimage_size"), "labels from 0 to 2"),
    ],
)
def test_mistakes_in_a_folder_are_told_in_the_plan(pictures, change, expected):
    text = FOLDER.replace(*change)
    if expected == "ok":
        assert only(pictures, text).data.location is None
    else:
        assert expected in problems(pictures, text)


def test_definitions_extend_a_folder_and_may_leave_it(pictures):
    text = FOLDER.replace('"own"', '["few", "other"]') + (
        '[dataset.few]\nextends = "own"\nclasses = [0, 2]\n[dataset.other]\nextends = "own"\nsource = "digits"\n'
    )
    few, other = plan(pictures, text).cells
    assert (few.data.num_classes, few.data.location) == (2, str(pictures / "pictures"))
    assert (other.data.num_classes, other.data.location) == (10, None)


def test_the_header_of_an_archive_tells_size_and_colour(tmp_path):
    np.savez_compressed(tmp_path / "own.npz", x=np.zeros((5, 20, 20, 3), np.float32), y=np.arange(5))
    text = FOLDER.replace("folder:pictures", "npz:own.npz").replace(
        'image_size = 16\ncolor = "rgb"\n', "num_classes = 5\n"
    )
    data = only(tmp_path, text).data
    assert (data.image_size, data.color, data.num_classes) == (20, "rgb", 5)
    assert only(tmp_path, text.replace("num_classes = 5", 'class_names = ["a", "b"]')).data.class_names == ("a", "b")
    assert "`num_classes`, because nothing can be told from" in problems(
        tmp_path, text.replace("num_classes = 5\n", "")
    )
    np.savez(tmp_path / "own.npz", x=np.zeros((5, 20, 30)), y=np.arange(5))
    assert "`image_size`" in problems(tmp_path, text)
    (tmp_path / "own.npz").write_bytes(b"PK")
    assert "is not a readable .npz archive" in problems(tmp_path, text)


def test_an_archive_that_has_not_been_fetched_is_told_as_what_it_is(tmp_path):
    text = FOLDER.replace("folder:pictures", "npz:own.npz")
    (tmp_path / "own.npz.dvc").touch()
    assert "DVC keeps it elsewhere; `dvc pull` fetches it" in problems(tmp_path, text)
    (tmp_path / "own.npz").symlink_to(".git/annex/objects/SHA256E-s9--0.npz")
    assert "`git annex get` fetches it" in problems(tmp_path, text)
    (tmp_path / "own.npz").unlink()
    (tmp_path / "own.npz").write_text("version https://git-lfs.github.com/spec/v1\nsize 9\n")
    assert "a pointer of Git LFS in the archive's place; `git lfs pull` fetches it" in problems(tmp_path, text)


def test_headers_are_read_as_numpy_reads_them(tmp_path):
    arrays = {
        "a": np.zeros((2, 3), np.uint8),
        "b": np.zeros(4, ">f8"),
        "c": np.array(5),
        "d": np.asfortranarray(np.eye(3)),
    }
    np.savez(tmp_path / "all.npz", **arrays)
    found = array_facts(tmp_path / "all.npz")
    assert {name: (facts.shape, facts.dtype) for name, facts in found.items()} == {
        name: (array.shape, array.dtype.str) for name, array in arrays.items()
    }
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x10\x00{'shape': __imp}")
        archive.writestr("y.npy", b"no array")
    assert array_facts(tmp_path / "odd.npz") == {}


# ---- models


def test_a_plugin_is_known_by_its_content_and_not_by_its_place(tmp_path, tmp_path_factory):
    (tmp_path / "my.py").write_text("def net(): ...")
    cell = only(tmp_path, PLUGIN)
    assert cell.architecture.name == "plugin:net"
    assert cell.architecture.parameters == (("width", 8),)
    assert cell.architecture.file == str(tmp_path / "my.py")
    assert cell.architecture.code == hashlib.sha256(b"def net(): ...").hexdigest()
    other = tmp_path_factory.mktemp("other")
    (other / "your.py").write_text("def net(): ...")
    assert only(other, PLUGIN.replace("my.py", "your.py")).cell_id == cell.cell_id
    (other / "your.py").write_text("def net(): ... #")
    assert only(other, PLUGIN.replace("my.py", "your.py")).cell_id != cell.cell_id


def test_planning_runs_no_plugin(tmp_path):
    (tmp_path / "my.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\ndef net(): ...")
    assert plan(tmp_path, PLUGIN).cells
    assert not (tmp_path / "canary").exists()


def test_parameters_are_any_plain_values_and_settings_stay_settings(tmp_path):
    (tmp_path / "my.py").write_text("def net(): ...")
    more = 'filters = [8, [1.5, "x"]]\nkernel_size = "big"\non = true\ndropout = 0.25\nepochs = 3\n'
    cell = only(tmp_path, PLUGIN + more)
    assert dict(cell.architecture.parameters) == {
        "width": 8, "filters": (8, (1.5, "x")), "kernel_size": "big", "on": True, "dropout": 0.25,
    }  # fmt: skip
    assert cell.epochs == 3
    wider = (
        PLUGIN.replace('model = "mine"', 'model = "wide"') + '[model.wide]\nextends = "mine"\nwidth = 9\ndepth = 2\n'
    )
    assert dict(only(tmp_path, wider).architecture.parameters) == {"width": 9, "depth": 2}
    ours = PLUGIN.replace('model = "mine"', 'model = "cnn"') + (
        '[model.cnn]\nextends = "mine"\narchitecture = "basic_cnn"\nfilters = [4]\ndense_units = 4\ndropout = 0\n'
    )
    assert "model.cnn.width: expected a parameter of basic_cnn" in problems(tmp_path, ours)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("width = 8", "width = nan"), "model.mine.width: expected a number, a text, true, false, or a list of these"),
        (("width = 8", "width = { a = 1 }"), "expected a number, a text"),
        (("width = 8", "width = 2026-01-01"), "expected a number, a text"),
        (("width = 8", '"no name" = 8'), "the name of a keyword argument"),
        (("width = 8", "num_classes = 8"), "the name of a keyword argument other than input_shape and num_classes"),
        (("width = 8", "class = 8"), "the name of a keyword argument"),
        (('["my.py"]', "3"), "plugins.models: expected the path of a Python file"),
        (('["my.py"]', '["my.py", "."]'), "plugins.models[1]: expected a Python file that can be read"),
        (
            ("models =", "model ="),
            "plugins.model: expected models, datasets, metrics, losses or callbacks; did you mean 'models'?",
        ),
        (('["my.py"]', '["my.py", "same.py"]'), "expected one file of [plugins] that defines net"),
        (('["my.py"]', "[]"), "expected a function of a file of [plugins], or of an installed package"),
        (("plugin:net", "os.system"), "model.mine.architecture: expected the name of an architecture"),
    ],
)
def test_mistakes_about_plugins_are_told_in_the_plan(tmp_path, change, expected):
    for name in ("my.py", "same.py"):
        (tmp_path / name).write_text("def net(): ...")
    assert expected in problems(tmp_path, PLUGIN.replace(*change))


def test_a_file_that_is_broken_or_has_another_name_is_planned_and_fails_by_itself(tmp_path):
    (tmp_path / "my.py").write_text("def nett(): ...")
    assert "my.py seems to have no function net; did you mean 'nett'?" in plan(tmp_path, PLUGIN).notes
    (tmp_path / "my.py").write_text("def net(:")
    assert plan(tmp_path, PLUGIN).cells
    assert plan(tmp_path, PLUGIN).notes == ("my.py:1: invalid syntax; the cells that need it would fail",)


def test_the_file_that_defines_the_name_is_found(tmp_path):
    (tmp_path / "my.py").write_text("def other(): ...")
    (tmp_path / "same.py").write_text("import x\nfrom y import z as net")
    cell = only(tmp_path, PLUGIN.replace('["my.py"]', '["my.py", "same.py"]'))
    assert cell.architecture.file == str(tmp_path / "same.py")


def test_names_are_read_from_the_text():
    text = b"import a.b as c\nfrom d import e\nx, (y, *z) = 1\nclass K: pass\nif x:\n    def f(): ...\nelse:\n    g = 1\ntry:\n    h: int = 1\nexcept E:\n    i = 1\n"
    assert defined_names(text) == set("cexyzKfghi")
    assert defined_names(b"from a import *") is None
    assert defined_names(b"x = (") is None
    assert defined_names(b"(" * 5000) is None


# ---- consent


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    trust_file().parent.mkdir(parents=True)
    return tmp_path


def test_consent_is_for_a_content(home):
    (home / "my.py").write_text("def net(): ...")
    cells = plan(home, PLUGIN).cells
    with pytest.raises(UserError) as caught:
        require_consent(cells, "bench run", allowed=False)
    assert "bench run --allow-plugins" in str(caught.value)
    require_consent(cells, "bench run", allowed=True)
    entry = str(caught.value).partition(f"add to {trust_file()}:")[2]
    trust_file().write_text(entry)
    require_consent(cells, "bench run", allowed=False)
    with pytest.raises(UserError):
        require_consent(
            [replace(cells[0], architecture=replace(cells[0].architecture, code="0" * 64))], "", allowed=False
        )
    require_consent([replace(cells[0], backend="fake")], "", allowed=False)


def test_files_that_others_can_write_to_are_never_run(home):
    shared = home / "shared"
    shared.mkdir()
    (shared / "my.py").write_text("def net(): ...")
    cells = plan(shared, PLUGIN).cells
    for exposed in (shared / "my.py", shared, home):
        mode = exposed.stat().st_mode
        exposed.chmod(mode | 0o002)
        with pytest.raises(UserError, match=f"{exposed} can be written by anybody"):
            require_consent(cells, "bench run", allowed=True)
        exposed.chmod(mode)
    home.chmod(0o1777)  # as /tmp: what others wrote there cannot be replaced
    assert exposure(shared / "my.py") == ""
    (home / "top.py").touch()
    assert exposure(home / "top.py") == str(home)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[[plugin]\n", "expected a TOML file that can be read"),
        ("[[plugin]]\npath = 'x'\n", "with a sha256 of 64 digits"),
        ("plugin = [3]\n", "with a sha256 of 64 digits"),
    ],
)
def test_a_damaged_trust_file_trusts_nobody(home, content, expected):
    trust_file().write_text(content)
    with pytest.raises(UserError, match=r"trusted.toml: expected"):
        trusted_digests()
    with pytest.raises(UserError) as caught:
        trusted_digests()
    assert expected in str(caught.value)


def test_a_trust_file_of_everybody_is_no_trust_file(home):
    assert trusted_digests() == frozenset()
    trust_file().write_text(f"[[plugin]]\nsha256 = '{'A' * 64}'\n")
    assert trusted_digests() == {"a" * 64}
    trust_file().chmod(0o666)
    with pytest.raises(UserError, match="only you can write to"):
        trusted_digests()


# ---- packages


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with an entry point, as pip leaves one."""
    site = tmp_path / "site"
    about = site / "flowers_models-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: flowers-models\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text("[benchmark.models]\nflower_net = flowers_models:build\n")
    (site / "flowers_models.py").write_text("raise SystemExit('planning must not import it')\n")
    monkeypatch.syspath_prepend(str(site))
    return site


def test_a_model_of_an_installed_package_needs_no_file_and_is_not_imported(package, tmp_path):
    text = PLUGIN.replace("plugin:net", "plugin:flower_net").replace('[plugins]\nmodels = ["my.py"]\n', "")
    cell = only(tmp_path, text)
    assert cell.architecture.file is None
    digest = hashlib.sha256((package / "flowers_models.py").read_bytes()).hexdigest()
    assert cell.architecture.code == f"flowers-models 1.2 flowers_models:build {digest}"
    require_consent([cell], "bench run", allowed=False)
    (package / "flowers_models.py").write_text("x = 1")
    assert only(tmp_path, text).cell_id != cell.cell_id
    (tmp_path / "my.py").write_text("def flower_net(): ...")
    assert only(tmp_path, PLUGIN.replace("plugin:net", "plugin:flower_net")).architecture.file is not None
    assert "did you mean 'flower_net'?" in problems(tmp_path, text.replace("flower_net", "flowernet"))


def test_an_archive_with_any_damaged_byte_is_read_or_refused_in_words(tmp_path):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, x=np.arange(200, dtype=np.uint8), y=np.arange(20))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with contextlib.suppress(ValueError, OSError):
            array_facts(path)


@pytest.mark.parametrize("start", [b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10", b"\x93NUMPY\x02\x00\x10"])
def test_a_member_that_ends_in_its_header_is_no_array(start, tmp_path):
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("x.npy", start)
    assert array_facts(tmp_path / "own.npz") == {}
