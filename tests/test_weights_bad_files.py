"""Files that are damaged, hostile, or of something else: one clear line each, and nothing outside them is read."""

import h5py
import numpy as np
import pytest

from minicam import MinicamError
from minicam.weights import hdf5, keras

GOOD = {"a/kernel": np.arange(6, dtype="f4").reshape(2, 3), "a/bias": np.arange(3, dtype="f4")}


@pytest.fixture
def path(tmp_path):
    """A good file with one layer, a, to be spoilt."""
    keras.write(tmp_path / "w.h5", GOOD)
    return tmp_path / "w.h5"


def assert_refused(path, message):
    with pytest.raises(MinicamError, match=message) as caught:
        keras.read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected HDF5 weights"),
        (b"\x00" * 99, "is not an HDF5 file; expected HDF5 weights"),
        (b"PK\x03\x04rest", r"is a zip archive, as \.keras and PyTorch files are; expected"),
        (b"\n<!DOCTYPE html>", "is a web page, so its download went wrong; expected"),
    ],
)
def test_not_hdf5(tmp_path, content, message):
    (tmp_path / "w.h5").write_bytes(content)
    assert_refused(tmp_path / "w.h5", message)


def test_missing_and_folder(tmp_path):
    assert_refused(tmp_path / "no.h5", "there is no file .*no.h5; expected HDF5 weights")
    assert_refused(tmp_path, "is a folder, expected an HDF5 file of weights")
    assert_refused(tmp_path / "no.h5" / "below.h5", "there is no file")
    keras.write(tmp_path / "w.h5", GOOD)
    assert_refused(tmp_path / "w.h5" / "below.h5", "cannot read .*: Not a directory")


def test_truncated(path):
    path.write_bytes(path.read_bytes()[:-100])
    assert_refused(path, r"is truncated, only [\d,]+ bytes are there")


def test_every_damaged_byte_is_an_error_or_harmless(path):
    """Single bytes inverted, here and there: a MinicamError or a layer, and no other error."""
    good = path.read_bytes()
    outcomes = {"read": 0, "refused": 0}
    for place in range(8, len(good), 41):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            keras.read(path)
            outcomes["read"] += 1
        except MinicamError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10


def test_too_little_memory_is_no_damage(path, monkeypatch):
    def none_left(*_):
        raise MemoryError("Unable to allocate 2 GiB")

    monkeypatch.setattr(hdf5, "floats", none_left)
    with pytest.raises(MemoryError, match="Unable to allocate"):
        keras.read(path)


def test_a_group_within_itself_is_damage(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        inner = file.create_group("layers/a")
        inner["layers"] = file["layers"]
    assert_refused(tmp_path / "w.h5", "is damaged, HDF5 cannot read it")


def test_no_layout(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["images"], file["labels"] = np.ones(3), np.ones(2)
    assert_refused(tmp_path / "w.h5", "has no layout of weights that minicam knows .* it holds images, labels")
    with h5py.File(tmp_path / "w.h5", "w"):
        pass
    assert_refused(tmp_path / "w.h5", "at its root it holds nothing")


def test_layout_without_weights(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("layers/flatten/vars")
    assert_refused(tmp_path / "w.h5", "is in the Keras 3 layout, but no layer in it has weights")


def kernel_replaced(path, make):
    """Put what `make` returns, or makes by itself, in the place of the kernel of layer a."""
    with h5py.File(path, "r+") as file:
        del file["a/a/kernel:0"]
        made = make(file["a/a"])
        if made is not None:
            file["a/a/kernel:0"] = made


def other_file(path):
    """A second file, which holds what nobody may read."""
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["secret"] = GOOD["a/kernel"]
        file["group/kernel:0"], file["group/bias:0"] = GOOD["a/kernel"], GOOD["a/bias"]
    return str(other)


def test_links(path):
    other = other_file(path)
    message = r"/a/a has a soft or external link, kernel:0: refused"
    kernel_replaced(path, lambda group: h5py.ExternalLink(other, "/secret"))
    assert_refused(path, message)
    kernel_replaced(path, lambda group: h5py.ExternalLink("nowhere.h5", "/secret"))
    assert_refused(path, message)
    kernel_replaced(path, lambda group: h5py.SoftLink("/a/a/bias:0"))
    assert_refused(path, message)


@pytest.mark.parametrize("place", ["a", "a/a"])
def test_linked_groups(path, place):
    other = other_file(path)
    with h5py.File(path, "r+") as file:
        names = file["a"].attrs["weight_names"]
        del file[place]
        file[place] = h5py.ExternalLink(other, "/group")
        if place == "a/a":
            file["a"].attrs["weight_names"] = names
    assert_refused(path, "has a soft or external link, a: refused")


def test_links_at_the_root_of_other_layouts(tmp_path):
    for name in ("layers", "model_weights"):
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file[name] = h5py.ExternalLink("nowhere.h5", "/")
        assert_refused(path, f"has a soft or external link, {name}: refused")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers/conv2d/vars/1"] = np.ones(3)
        file["layers/conv2d/vars/0"] = h5py.SoftLink("/layers/conv2d/vars/1")
    assert_refused(tmp_path / "w.h5", "has a soft or external link, 0: refused")


def test_numbers_in_other_files(path):
    path.with_name("raw.bin").write_bytes(b"\x01" * 24)
    raw = str(path.with_name("raw.bin"))
    kernel_replaced(path, lambda group: group.create_dataset("kernel:0", (2, 3), "f4", external=raw) and None)
    assert_refused(path, r"a/a/kernel:0 keeps its numbers in other files: refused")
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource(other_file(path), "secret", (2, 3))
    kernel_replaced(path, lambda group: group.create_virtual_dataset("kernel:0", layout) and None)
    assert_refused(path, r"a/a/kernel:0 keeps its numbers in other files: refused")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((2, 3), "i8"), "holds int64, expected float16, float32 or float64"),
        (np.ones((2, 3), bool), "holds bool, expected float16"),
        (np.ones((2, 3), "c8"), "holds complex64, expected float16"),
        (np.ones((2, 3), [("x", "f4")]), "holds .*'x'.*, expected float16"),
        (np.array([["a"], ["b"]], object), "holds object, expected float16"),
        (np.ones((2, 3), np.longdouble), "holds float128, expected float16"),
        (np.full((2, 3), np.nan, "f4"), "holds NaN or infinity as float32: refused"),
        (np.full((2, 3), -np.inf), "holds NaN or infinity as float32: refused"),
        (np.full((2, 3), 1e39), "holds NaN or infinity as float32: refused"),
        (np.ones((2, 4), "f4"), r"layer a in .* holds tensors of shapes \(2, 4\) and \(3,\); expected a kernel"),
        (np.ones((2, 2, 3), "f4"), r"holds tensors of shapes \(2, 2, 3\) and \(3,\); expected a kernel"),
        (np.ones((0, 3), "f4"), r"holds tensors of shapes \(0, 3\) and \(3,\)"),
        (np.float32(1), r"holds tensors of shapes \(\) and \(3,\)"),
        (h5py.Empty("f4"), r"holds tensors of shapes None and \(3,\)"),
    ],
)
def test_bad_tensors(path, values, message):
    if getattr(values, "dtype", None) == np.longdouble and np.longdouble(0).itemsize <= 8:
        pytest.skip("long double is double here")
    kernel_replaced(path, lambda group: values)
    assert_refused(path, message)


def test_absurd_sizes(path):
    options = {"chunks": (1000, 3), "compression": "gzip"}
    kernel_replaced(path, lambda group: group.create_dataset("kernel:0", (10**12, 3), "f4", **options) and None)
    assert_refused(path, r"a/a/kernel:0 claims 3,000,000,000,000 numbers; minicam reads up to 536,870,912")


def test_absurd_sizes_in_sum(path, monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_NUMBERS", 8)  # 6 of the kernel and 3 of the bias are each within it
    assert_refused(path, r"w\.h5 claims 9 numbers; minicam reads up to 8")


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 3)}, {"chunks": (2, 3), "compression": "gzip"}])
def test_never_written(path, options):
    kernel_replaced(path, lambda group: group.create_dataset("kernel:0", (2, 3), "f4", **options) and None)
    assert_refused(path, r"has the shape \(2, 3\) but its numbers were never written")


def test_compressed_is_read(path):
    values = GOOD["a/kernel"]
    kernel_replaced(path, lambda group: group.create_dataset("kernel:0", data=values, compression="gzip") and None)
    np.testing.assert_array_equal(keras.read(path)["a/kernel"], values)


@pytest.mark.parametrize(
    ("group", "attribute", "value", "message"),
    [
        ("/", "layer_names", ["a", "b"], "has no group b, which its own list of names promises"),
        ("/", "layer_names", ["a", "a"], "layer a in .* is there twice"),
        ("/", "layer_names", ["a", ""], "has an attribute layer_names of '', expected names"),
        ("/", "layer_names", [3], "has an attribute layer_names of 3, expected names"),
        ("/", "layer_names", [b"\xff"], "is damaged, HDF5 cannot read it"),
        ("a", "weight_names", ["a/kernel:0"], "layer a in .* holds 1 tensors; expected two, a kernel and a bias"),
        ("a", "weight_names", 3 * ["a/bias:0"], "layer a in .* holds 3 tensors; expected two"),
        ("a", "weight_names", ["a/bias:0", "a/kernel:0"], r"shapes \(3,\) and \(2, 3\); expected a kernel"),
        ("a", "weight_names", ["a/kernel:0", "a/beta:0"], "has no dataset a/beta:0, which its own list"),
        ("a", "weight_names", ["a/kernel:0", "a"], "has no dataset a, which its own list"),
        ("a", "weight_names", ["a/kernel:0", "a/bias:0/x"], "has no dataset a/bias:0/x, which"),
        ("a", "weight_names", ["../a/a/kernel:0", "a/bias:0"], r"has no dataset \.\./a/a/kernel:0"),
        ("a", "weight_names", h5py.Empty("f4"), "but no layer in it has weights"),
    ],
)
def test_bad_lists_of_names(path, group, attribute, value, message):
    with h5py.File(path, "r+") as file:
        file[group].attrs[attribute] = value
    assert_refused(path, message)


def test_absolute_names_stay_below_their_layer(path):
    with h5py.File(path, "r+") as file:
        file["kernel:0"] = np.ones((2, 3))
        file["a"].attrs["weight_names"] = ["/kernel:0", "a/bias:0"]
    assert_refused(path, "w.h5: /a has no dataset /kernel:0")


def test_writing_needs_a_folder(tmp_path):
    with pytest.raises(MinicamError, match=r"cannot write .*w\.h5: there is no folder .*no"):
        keras.write(tmp_path / "no" / "w.h5", GOOD)
    (tmp_path / "w.h5").mkdir()
    with pytest.raises(MinicamError, match=r"cannot write .*w\.h5: Is a directory"):
        keras.write(tmp_path / "w.h5", GOOD)
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.h5"]
