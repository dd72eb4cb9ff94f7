from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import MatrixError, NotFoundError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.reading.toml import parse_toml, read_text

MACHINE = MachineKind(gpus=0, cores=2)
SMALL = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'


def refusal(text: str) -> str:
    with pytest.raises(MatrixError) as caught:
        load_matrix("matrix.toml", text, machine_kind=MACHINE)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("[matrix\n", "matrix.toml:1:8:", "syntax"),
        (SMALL + "epochs = \n", "matrix.toml:5:10:", "Invalid value"),
        (SMALL + "seed = 1\nseed = 2\n", "matrix.toml:6:", "overwrite"),
        (SMALL + "[matrix]\n", "matrix.toml:5:", "matrix"),
        (SMALL + "= 3\n", "matrix.toml:5:1:", "syntax"),
        (SMALL + 'name = "unclosed', "matrix.toml:5:17:", "syntax"),
        (SMALL + 'name = "a\x00b"\n', "matrix.toml:5:", "character"),
        (SMALL + 'name = "\\ud800"\n', "matrix.toml:5:", "syntax"),
        (SMALL + "seed = " + "9" * 5000 + "\n", "matrix.toml:5:8:", "5,000 digits"),
        (SMALL + "seed = " + "[" * 2000 + "]" * 2000 + "\n", "matrix.toml:5:", "levels"),
        (SMALL + "seed = " + "[" * 40 + "]" * 40 + "\n", "matrix.toml:5:", "levels"),
        (SMALL + "name = " + "{a=" * 500 + "1" + "}" * 500 + "\n", "matrix.toml:5:", "levels"),
        ("a" + ".a" * 5000 + " = 1\n", "matrix.toml:", "nesting"),
        (SMALL + "seed = 0x" + "f" * 9000 + "\n", "matrix.toml:5:", "36000 bits"),
        (SMALL + "name = 2024-13-45\n", "matrix.toml", "expected"),
        (SMALL + "learning_rate = [nan, inf, 1e999]\n", "matrix.toml:5:", "got nan"),
    ],
)
def test_a_document_that_is_no_toml_is_one_error_with_its_place(text, place, found):
    message = refusal(text)
    assert place in message
    assert found in message


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path):
    path = tmp_path / "matrix.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert len(load_matrix(path, machine_kind=MACHINE).cells) == 1


def test_lines_are_right_with_windows_line_ends():
    assert ":5: matrix.seed" in refusal((SMALL + 'seed = "x"\n').replace("\n", "\r\n"))


def test_bytes_that_are_not_utf8_are_named_with_their_place(tmp_path):
    path = tmp_path / "matrix.toml"
    path.write_bytes(SMALL.encode() + b'name = "caf\xe9"\n')
    with pytest.raises(MatrixError, match=r"matrix\.toml:5:12: encoding: expected UTF-8 text, got byte 0xe9"):
        read_text(path)


def test_a_missing_file_names_the_cure(tmp_path):
    with pytest.raises(NotFoundError, match="bench init"):
        read_text(tmp_path / "matrix.toml")
    with pytest.raises(NotFoundError):
        read_text("/dev/null/matrix.toml")


def test_only_regular_files_are_read(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, kind in [(fifo, "a named pipe"), (tmp_path, "a directory"), ("/dev/zero", "a device")]:
        with pytest.raises(MatrixError, match=f"expected a regular file, got {kind}"):
            read_text(path)


def test_a_link_to_a_regular_file_is_read(tmp_path):
    (tmp_path / "there.toml").write_text(SMALL)
    (tmp_path / "matrix.toml").symlink_to("there.toml")
    assert read_text(tmp_path / "matrix.toml") == SMALL


def test_more_than_a_mebibyte_is_refused(tmp_path):
    path = tmp_path / "matrix.toml"
    path.write_bytes(b"#" * (1 << 20))
    assert len(read_text(path)) == 1 << 20
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(MatrixError, match="at most 1 MiB"):
        read_text(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "matrix.toml"
    path.write_text(SMALL)
    path.chmod(stat.S_IWUSR)
    with pytest.raises(MatrixError, match="can be read"):
        read_text(path)


def test_a_path_with_a_nul_is_refused_without_a_traceback():
    with pytest.raises(MatrixError, match="file"):
        read_text("matrix\0.toml")


def test_a_mebibyte_of_anything_is_refused_soon():
    for text in [
        "[" * (1 << 20),
        "a." * (1 << 19) + "a=1",
        "a=" + "[" * (1 << 20),
        "a" * (1 << 20),
        "a='" + "b c." * (1 << 18) + "'",
        "[[a]]\n" * 50_000,
        "a=[" + "1," * 200_000 + "]",
    ]:
        with pytest.raises(MatrixError):
            load_matrix("matrix.toml", text, machine_kind=MACHINE)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda content: content.decode("latin-1")))
def test_any_text_is_a_document_or_a_matrix_error(text):
    try:
        understood = isinstance(parse_toml(text, "matrix.toml"), dict)
    except MatrixError as error:
        understood = len(error.problems) == 1
    assert understood
