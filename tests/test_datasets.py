"""Data sets: the shipped ones are the real ones, files are read whole or refused, the generators are reproducible."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

import ann

# ------------------------------------------------------------------------------------------------- shipped


def test_digits_have_their_shapes_ranges_and_a_stratified_split():
    (x, y), (x_test, y_test) = ann.datasets.digits()
    assert x.shape == (1437, 8, 8, 1) and x_test.shape == (360, 8, 8, 1) and y.shape == (1437,) and y_test.shape == (360,)
    assert x.dtype == x_test.dtype == np.float32 and y.dtype == np.int64
    assert x.min() == 0 and x.max() == 1
    counts, held_out = np.bincount(np.concatenate([y, y_test])), np.bincount(y_test)
    assert np.abs(held_out - counts / 5).max() < 1


@pytest.mark.parametrize("make", [ann.datasets.digits, ann.datasets.iris])
def test_shipped_data_are_fresh_arrays_each_time(make):
    first = make()[0][0]
    first[:] = 0
    assert make()[0][0].max() > 0


def test_digits_are_the_images_of_the_uci_repository():
    load_digits = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_digits
    bunch = load_digits()
    theirs = sorted(zip(map(bytes, bunch.images.astype("uint8").reshape(1797, 64)), bunch.target.tolist(), strict=True))
    (x, y), (x_test, y_test) = ann.datasets.digits()
    images = np.rint(np.concatenate([x, x_test]) * 16).astype("uint8").reshape(1797, 64)
    assert sorted(zip(map(bytes, images), np.concatenate([y, y_test]).tolist(), strict=True)) == theirs


def test_iris_are_fisher_s_flowers_ten_of_each_species_held_out():
    (x, y), (x_test, y_test) = ann.datasets.iris()
    assert x.shape == (120, 4) and x_test.shape == (30, 4) and x.dtype == np.float32 and y.dtype == np.int64
    assert y.tolist() == [0, 1, 2] * 40 and y_test.tolist() == [0, 1, 2] * 10
    bunch = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_iris()
    assert ann.datasets.CLASSES["iris"] == tuple(bunch.target_names)
    theirs = sorted(zip(map(tuple, bunch.data.astype("float32").tolist()), bunch.target.tolist(), strict=True))
    assert sorted(zip(map(tuple, np.concatenate([x, x_test]).tolist()), np.concatenate([y, y_test]).tolist(), strict=True)) == theirs


# ------------------------------------------------------------------------------------------------- generated

PLANE = [ann.datasets.xor, ann.datasets.moons, ann.datasets.circles, ann.datasets.spirals, ann.datasets.blobs]


@pytest.mark.parametrize("make", PLANE)
def test_generated_classes_are_reproducible_and_balanced(make):
    (x, y), (again, _), (other, _) = make(120, noise=0.1, seed=3), make(120, noise=0.1, seed=3), make(120, noise=0.1, seed=4)
    assert np.array_equal(x, again) and not np.array_equal(x, other)
    assert x.shape == (120, 2) and x.dtype == np.float32 and y.dtype == np.int64 and len(set(np.bincount(y))) == 1


def test_without_noise_the_points_lie_on_their_figures():
    x, y = ann.datasets.xor(8)
    assert x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] * 2 and y.tolist() == [0, 1, 1, 0] * 2
    x, y = ann.datasets.circles(50, noise=0, inner=0.3)
    np.testing.assert_allclose(np.hypot(*x.T), np.where(y == 0, 1, 0.3), rtol=1e-6)
    x, y = ann.datasets.moons(50, noise=0)
    np.testing.assert_allclose(np.hypot(x[:, 0] - y, x[:, 1] - 0.5 * y), 1, rtol=1e-6)
    assert (x[y == 0, 1] >= 0).all() and (x[y == 1, 1] <= 0.5).all()
    x, y = ann.datasets.spirals(60, noise=0, classes=4)
    turns = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) - y / 4 - 0.75 * np.hypot(*x.T)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-5)
    x, y = ann.datasets.blobs(6, noise=0, classes=2)
    np.testing.assert_allclose(x, [[0, 1], [0, -1]] * 3, atol=1e-7)


@pytest.mark.parametrize("kind", ["sine", "cubic", "bump", "step", "damped"])
def test_curves_have_one_feature_and_one_target(kind):
    x, y = ann.datasets.curve(500, noise=0, seed=1, kind=kind)
    assert x.shape == y.shape == (500, 1) and x.dtype == y.dtype == np.float32 and -1 <= x.min() < -0.9 < 0.9 < x.max() < 1
    f = {
        "sine": lambda x: np.sin(2 * np.pi * x), "cubic": lambda x: np.polynomial.chebyshev.chebval(x, [0, 0, 0, 1]), "bump": lambda x: np.exp(-10 * x * x),
        "step": lambda x: 1.0 - 2.0 * (x < 0), "damped": lambda x: np.exp(-1 - x) * np.cos(4 * np.pi * x),
    }[kind]  # fmt: skip
    np.testing.assert_allclose(y, f(x.astype(float)), atol=1e-5)
    noisy = ann.datasets.curve(500, noise=0.3, seed=1, kind=kind)[1] - y
    assert abs(noisy.std() - 0.3) < 0.03


def test_generated_numbers_are_those_of_the_stream_on_every_backend(backend):
    x, _ = ann.datasets.curve(16, seed=5)
    u = ann.Stream(5)["curve"].uniform((16, 1), -1.0, 1.0, like=backend, dtype="float64")
    np.testing.assert_array_equal(backend.to_numpy(u).astype("float32"), x)


@pytest.mark.parametrize("make", [*PLANE, ann.datasets.curve])
@pytest.mark.parametrize("n", [0, -3, 2.5, "many"])
def test_an_impossible_number_of_points_is_refused(make, n):
    with pytest.raises(ValueError, match="positive integer"):
        make(n)


def test_an_unknown_curve_names_those_there_are():
    with pytest.raises(ValueError, match="sine, cubic, bump, step, damped"):
        ann.datasets.curve(kind="sin")


def test_a_small_net_learns_xor(backend):
    x, y = ann.datasets.xor()
    m = ann.Model([ann.Dense(8, "tanh"), ann.Dense(1)], backend=backend, seed=0)
    m.compile(ann.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    m.fit(x, y, epochs=100, verbose=0)
    assert m.evaluate(x, y).accuracy == 1.0


# ------------------------------------------------------------------------------------------------- MNIST files

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def small_mnist(n=5, side=28, classes=10):
    random = np.random.default_rng(0)
    return [
        part
        for count in (n, n - 2)
        for part in (random.integers(0, 256, (count, side, side), dtype="uint8"), random.integers(0, classes, count, dtype="uint8"))
    ]


def idx(x):
    return struct.pack(f">BBBB{x.ndim}I", 0, 0, 8, x.ndim, *x.shape) + x.tobytes()


def write_idx(folder, arrays, names=IDX, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, x in zip(names, arrays, strict=True):
        content = x if isinstance(x, bytes) else idx(x)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content, mtime=0) if packed else content)


def assert_are(split, arrays):
    (x, y), (x_test, y_test) = split
    for got, want in ((x, arrays[0]), (x_test, arrays[2])):
        assert got.dtype == np.float32 and got.shape == (*want.shape, 1) and got.flags.writeable and got.flags.c_contiguous
        np.testing.assert_array_equal(np.rint(got[..., 0] * 255).astype("uint8"), want)
        assert 0 <= got.min() and got.max() <= 1
    for got, want in ((y, arrays[1]), (y_test, arrays[3])):
        assert got.dtype == np.int64 and got.tolist() == want.tolist()


@pytest.mark.parametrize("read", [ann.datasets.mnist, ann.datasets.fashion_mnist])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read_plain_and_compressed(tmp_path, read, packed):
    arrays = small_mnist()
    write_idx(tmp_path, arrays, packed=packed)
    assert_are(read(tmp_path), arrays)
    assert_are(read(str(tmp_path)), arrays)


def test_idx_files_are_found_where_others_leave_them(tmp_path):
    arrays = small_mnist()
    write_idx(tmp_path / "a", arrays, [name.replace("-idx", ".idx") for name in IDX])
    write_idx(tmp_path / "b" / "MNIST" / "raw", arrays, packed=True)
    assert_are(ann.datasets.mnist(tmp_path / "a"), arrays)
    assert_are(ann.datasets.mnist(tmp_path / "b"), arrays)


def npz(path, arrays, **changed):
    named = dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True)) | changed
    np.savez_compressed(path, **{name: x for name, x in named.items() if x is not None})


def test_keras_archives_are_read_without_unpickling(tmp_path):
    arrays = small_mnist()
    npz(tmp_path / "mnist.npz", arrays)
    assert_are(ann.datasets.mnist(tmp_path), arrays)
    np.savez(tmp_path / "mnist.npz", x_train=arrays[0], y_train=arrays[1], x_test=arrays[2], y_test=arrays[3])
    assert_are(ann.datasets.mnist(tmp_path), arrays)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": None}, "has no y_train; expected x_train, y_train, x_test, y_test"),
        ({"x_train": np.array([print, 1], dtype=object)}, "pickled objects, which are never read"),
        ({"x_train": np.zeros((5, 28, 28))}, "type '<f8'.*expected unsigned bytes"),
        ({"x_test": np.zeros((3, 28), dtype="uint8")}, r"shape \(3, 28\); expected unsigned bytes.*3 axes"),
        ({"y_test": np.zeros(4, dtype="uint8")}, "4 labels; expected 3"),
        ({"y_train": np.full(5, 10, dtype="uint8")}, "label of row 0 is 10; expected 0 … 9"),
    ],
)
def test_unfit_archives_are_refused(tmp_path, changed, message):
    npz(tmp_path / "mnist.npz", small_mnist(), **changed)
    with pytest.raises(ann.FileError, match=message):
        ann.datasets.mnist(tmp_path)


def huge_npz():
    """An archive whose header claims 10¹⁴ numbers."""
    whole = io.BytesIO()
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (127551020408, 28, 28), }\n"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    return whole.getvalue()


def test_false_sizes_take_no_memory(tmp_path):
    many = struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 28, 28)
    for i, (names, content) in enumerate({"train-images-idx3-ubyte": many, "train-images-idx3-ubyte.gz": gzip.compress(many), "mnist.npz": huge_npz()}.items()):
        folder = tmp_path / str(i)
        write_idx(folder, small_mnist())
        (folder / "train-images-idx3-ubyte").unlink()
        (folder / names).write_bytes(content)
        with pytest.raises(ann.FileError, match="promises.*the file is too short"):
            ann.datasets.mnist(folder)


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        (0, idx(np.zeros((5, 28, 28), "uint8"))[:-1], "promises 5 × 28 × 28 = 3,920 numbers"),
        (0, idx(np.zeros((5, 28, 28), "uint8")) + b"\0", "promises 5 × 28 × 28 = 3,920 numbers; more follow"),
        (0, idx(np.zeros((5, 28, 28), "uint8"))[:9], "ends within its header, after 9 bytes; expected 16"),
        (0, b"", "begins with the bytes ; expected 00 00 08 03"),
        (0, idx(np.zeros((5, 32, 32), "uint8")), "32×32 pixels; expected 28×28"),
        (1, idx(np.zeros((5, 28, 28), "uint8")), "begins with the bytes 00 00 08 03; expected 00 00 08 01"),
        (1, idx(np.zeros(4, "uint8")), "4 labels; expected 5"),
        (3, idx(np.full(3, 77, "uint8")), "label of row 0 is 77; expected 0 … 9"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx_files_are_refused_by_name(tmp_path, place, content, message, packed):
    arrays = small_mnist()
    arrays[place] = content
    write_idx(tmp_path, arrays, packed=packed)
    with pytest.raises(ann.FileError, match=message) as caught:
        ann.datasets.mnist(tmp_path)
    assert IDX[place] in str(caught.value)


@pytest.mark.parametrize("kind", ["gz", "npz"])
def test_no_flipped_bit_and_no_truncation_changes_what_is_read(tmp_path, kind):
    """Formats with checksums: what is read is what was written, or a FileError; never another error."""
    arrays = [np.full((2, 28, 28), 7, "uint8"), np.array([1, 2], "uint8")] * 2
    path = tmp_path / ("train-images-idx3-ubyte.gz" if kind == "gz" else "mnist.npz")
    write_idx(tmp_path, arrays, packed=True)
    if kind == "npz":
        npz(path, arrays)
    whole = path.read_bytes()
    flips = [whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :] for i in range(len(whole))]
    for content in [*flips, *(whole[:i] for i in range(0, len(whole), 7))]:
        path.write_bytes(content)
        try:
            split = ann.datasets.mnist(tmp_path)
        except ann.FileError as error:
            assert path.name in str(error)
        else:
            assert_are(split, arrays)


def test_what_is_missing_is_named_with_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        ann.datasets.mnist(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no train-images-idx3-ubyte.*t10k-labels-idx1-ubyte.*fashion_mnist.npz"):
        ann.datasets.fashion_mnist(tmp_path)


# ------------------------------------------------------------------------------------------------- CIFAR files


def cifar_records(n, labels, highest, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, k, n, dtype="uint8") for k in highest[:labels]], random.integers(0, 256, (n, 32, 32, 3), dtype="uint8")


def write_cifar(path, labels, images):
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    path.write_bytes(np.concatenate([np.stack(labels, axis=1), planes], axis=1).tobytes())


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar10_in_its_binary_version_is_read(tmp_path, below):
    parts = [cifar_records(3, 1, (10,), seed) for seed in range(6)]
    for name, (labels, images) in zip([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], parts, strict=True):
        write_cifar(tmp_path / below / f"{name}.bin", labels, images)
    (x, y), (x_test, y_test) = ann.datasets.cifar10(tmp_path)
    assert x.shape == (15, 32, 32, 3) and x_test.shape == (3, 32, 32, 3) and x.dtype == np.float32 and y.dtype == np.int64
    np.testing.assert_allclose(x, np.concatenate([images for _, images in parts[:5]]) / 255, rtol=1e-6)
    np.testing.assert_allclose(x_test, parts[5][1] / 255, rtol=1e-6)
    assert y.tolist() == np.concatenate([labels[0] for labels, _ in parts[:5]]).tolist() and y_test.tolist() == parts[5][0][0].tolist()


def test_cifar100_has_fine_and_coarse_labels(tmp_path):
    for seed, name in enumerate(("train", "test")):
        write_cifar(tmp_path / f"{name}.bin", *cifar_records(4, 2, (20, 100), seed))
    labels, images = cifar_records(4, 2, (20, 100), 0)
    (x, fine), _ = ann.datasets.cifar100(tmp_path)
    (_, coarse), _ = ann.datasets.cifar100(tmp_path, label_mode="coarse")
    np.testing.assert_allclose(x, images / 255, rtol=1e-6)
    assert fine.tolist() == labels[1].tolist() and coarse.tolist() == labels[0].tolist()
    with pytest.raises(ValueError, match='"fine".*"coarse"'):
        ann.datasets.cifar100(tmp_path, label_mode="both")


def test_the_pickled_version_of_cifar_is_never_read(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(ann.FileError, match="pickled.*cifar-10-binary.tar.gz"):
        ann.datasets.cifar10(tmp_path)
    (tmp_path / "test").write_bytes(b"\x80\x04.")
    with pytest.raises(ann.FileError, match="pickled.*cifar-100-binary.tar.gz"):
        ann.datasets.cifar100(tmp_path)


def test_damaged_and_missing_cifar_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no test_batch.bin.*cifar-10-binary.tar.gz"):
        ann.datasets.cifar10(tmp_path)
    labels, images = cifar_records(2, 1, (10,))
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        write_cifar(tmp_path / f"{name}.bin", labels, images)
    path = tmp_path / "data_batch_3.bin"
    whole = path.read_bytes()
    for content, message in ((whole[:-1], "6,145 bytes; expected a multiple of 3,073"), (b"", "0 bytes"), (b"\x0b" + whole[1:], "label of row 0 is 11; expected 0 … 9")):
        path.write_bytes(content)
        with pytest.raises(ann.FileError, match=f"data_batch_3.bin.*{message}"):
            ann.datasets.cifar10(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3.bin is missing"):
        ann.datasets.cifar10(tmp_path)
