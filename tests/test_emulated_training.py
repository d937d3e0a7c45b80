"""The whole of minicam on the CUDA kernels, run by the emulator, or by a stand-in for CuPy that runs them there."""

import json

import numpy as np
import pytest

from minicam import MinicamError, cuda, inference
from minicam.backend import device_of, to_cpu
from minicam.data.loader import Loader
from minicam.evaluate import main as evaluate
from minicam.explain import main as explain
from minicam.model import small_gap
from minicam.ops import softmax_loss
from minicam.optim import SGD
from minicam.train import main

TINY = "--limit 12 --epochs 1 --size 24 --batch 5 --seed 3 --lr 0.1"
OPTIONS = [*TINY.split(), "--out"]


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def predictions(folder):
    return [np.genfromtxt(folder / f"predictions_stage{s}.csv", delimiter=",", skip_header=1)[:, 1:] for s in (1, 2)]


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """A run on the CPU to compare with."""
    folder = tmp_path_factory.mktemp("cpu") / "run"
    assert main([*OPTIONS, str(folder), "--device", "cpu"]) == 0
    return folder


@pytest.fixture(autouse=True)
def as_before():
    yield
    cuda.set_precision("float32")


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_training_in_the_emulator_is_training_on_the_cpu(precision, on_cpu, tmp_path):
    folder = tmp_path / "run"
    assert main([*OPTIONS, str(folder), "--device", "emulator", "--precision", precision]) == 0
    mine, theirs = losses(folder), losses(on_cpu)
    assert len(mine) == 6
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-3 if precision == "float32" else 2e-2)
    if precision == "float32":
        for p, q in zip(predictions(folder), predictions(on_cpu), strict=True):
            np.testing.assert_allclose(p, q, rtol=0, atol=1e-3)


def test_training_through_cupy_gives_the_bits_of_the_emulator(fake_gpu, on_cpu, tmp_path, capsys):
    options = [*OPTIONS[:-1], "--precision", "float32", "--out"]
    assert main([*options, str(tmp_path / "emulator"), "--device", "emulator"]) == 0
    fake_gpu()
    assert main([*options, str(tmp_path / "cuda"), "--device", "cuda"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Fake GPU, float32, at most 0.0")
    assert last.endswith(" of 1024 GiB taken")
    for name in ("boxes.csv", "predictions_stage1.csv", "predictions_stage2.csv", "cams.png"):
        assert (tmp_path / "cuda" / name).read_bytes() == (tmp_path / "emulator" / name).read_bytes(), name
    assert losses(tmp_path / "cuda") == losses(tmp_path / "emulator")


def test_a_run_goes_on_and_is_used_on_another_device(fake_gpu, on_cpu, tmp_path):
    """Stage 1 on the CPU, then killed; stage 2 on the GPU; then looked at in the emulator."""
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(on_cpu, folder)
    for name in ("stage2.h5", "summary.json", "predictions_stage2.csv"):
        (folder / name).unlink()
    fake_gpu(capability="75")
    assert main(["--resume", str(folder), "--device", "cuda"]) == 0
    np.testing.assert_allclose(losses(folder), losses(on_cpu), rtol=0, atol=1e-3)
    for device in ("cuda", "emulator", "cpu"):
        out = tmp_path / f"out_{device}"
        assert evaluate([str(folder), "--split", "test", "--limit", "6", "--device", device, "--out", str(out)]) == 0
    for p, q in zip(predictions(tmp_path / "out_cuda"), predictions(tmp_path / "out_cpu"), strict=True):
        np.testing.assert_allclose(p, q, rtol=0, atol=1e-5)
    assert (tmp_path / "out_cuda/boxes.csv").read_bytes() == (tmp_path / "out_emulator/boxes.csv").read_bytes()
    from PIL import Image

    Image.fromarray(np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)).save(tmp_path / "one.png")
    out = tmp_path / "explained"
    assert explain([str(folder), str(tmp_path / "one.png"), "--device", "cuda", "--out", str(out)]) == 0
    assert np.load(out / "bias.npy").shape == (3,)
    assert np.load(out / "maps/one.npy").shape == (6, 6, 3)


# --- the loader ---


@pytest.mark.parametrize("device", ["emulator", "cuda"])
def test_pixels_go_to_the_device_once(device, fake_gpu, monkeypatch):
    from minicam.data.catalogue import open_split

    fake_gpu()
    dataset, network = open_split(None, "auto", "training", 0, 7), small_gap().to(device)
    boxes = np.array([[i, 2 * i, 90 + i, 70 + i] for i in range(7)])
    reads = []
    image = type(dataset).image
    monkeypatch.setattr(type(dataset), "image", lambda self, i, *rest: reads.append(i) or image(self, i, *rest))
    for crops in (None, boxes):
        args = dataset, 24, 3, network.colour, crops, ("flip", "rotate", "colour"), (5, 1), 2
        here, there = Loader(*args), Loader(*args, device)
        for epoch in range(2):
            for mine, theirs in zip(there.shuffled(epoch), here.shuffled(epoch), strict=True):
                assert device_of(mine.x) == device_of(mine.labels) == device
                np.testing.assert_array_equal(mine.indices, theirs.indices)
                np.testing.assert_array_equal(to_cpu(mine.labels), theirs.labels)
                np.testing.assert_allclose(to_cpu(mine.x), theirs.x, rtol=0, atol=1e-5)
        assert sorted(there.kept) == list(range(7))
        assert len(reads) == 3 * 7  # twice on the CPU, once for the device
        reads.clear()


def test_images_of_several_shapes_and_no_room_to_keep_them(monkeypatch):
    from minicam.data import loader
    from minicam.data.catalogue import open_split

    dataset = open_split(None, "auto", "training", 0, 5)
    shapes = [(40, 50), (30, 30), (40, 50), (64, 31), (30, 30)]
    pictures = [np.random.default_rng(i).integers(0, 256, (*shape, 3), np.uint8) for i, shape in enumerate(shapes)]
    monkeypatch.setattr(type(dataset), "image", lambda self, i, *rest: pictures[i])
    monkeypatch.setattr(type(dataset), "shape", lambda self, i: shapes[i])
    monkeypatch.setattr(loader, "KEPT_BYTES", sum(p.nbytes for p in pictures[:2]))
    args = dataset, 24, 5, np.eye(3, 4), None, (), (0,), 2
    here, there = Loader(*args), Loader(*args, "emulator")
    np.testing.assert_allclose(next(there.in_order()).x, next(here.in_order()).x, rtol=0, atol=1e-4)
    assert not there.kept  # once through them in order is all that is ever asked for
    order = [i for batch in there.shuffled(0) for i in batch.indices]
    held = np.cumsum([pictures[i].nbytes for i in order])
    assert next(iter(there.kept)) == order[0]
    assert sum(p.nbytes for p in there.kept.values()) <= loader.KEPT_BYTES < held[-1]
    for mine, theirs in zip(there.shuffled(1), here.shuffled(1), strict=True):
        np.testing.assert_allclose(mine.x, theirs.x, rtol=0, atol=1e-4)


def test_pixels_leave_most_of_a_gpus_memory_to_the_network(fake_gpu):
    from minicam.data.catalogue import open_split

    dataset = open_split(None, "auto", "training", 0, 9)
    size = dataset.image(0, 24).nbytes
    fake_gpu(capacity=4 * 4 * size + 1)
    there = Loader(dataset, 24, 2, np.eye(3, 4), None, (), (0,), 1, "cuda")
    for _ in there.shuffled(0):
        pass
    assert len(there.kept) == 4


# --- memory ---


def step(network, x, labels):
    loss, p = softmax_loss.forward(network.forward(x, learning=True), labels)
    network.backward(softmax_loss.backward(p, labels))
    SGD(0.1).step(network.params(), network.grads())
    return loss


@pytest.mark.parametrize("capacity", [800_000, 1_000_000, 1_700_000, 2_300_000])
def test_out_of_memory_says_which_batch_would_fit(capacity, fake_gpu, tmp_path, capsys):
    """What fits by its account does, and what is clearly more does not. (All 24 images would fit into 3 MB.)"""
    fake_gpu(capacity=capacity)

    def run(batch):
        options = f"--limit 24 --epochs 1 --size 24 --device cuda --precision float32 --batch {batch}"
        return main([*options.split(), "--out", str(tmp_path / f"run{batch}")])

    assert run(24) == 2
    error = capsys.readouterr().err
    assert error.startswith("minicam: the GPU's memory is too small for a batch of 24 images (Out of memory a")
    assert error.count("\n") == 1
    fits = int(error.rpartition("--batch ")[2].split()[0])
    assert 1 <= fits < 24
    assert run(fits) == 0
    assert run(fits + fits // 3 + 2) == 2


def test_out_of_memory_with_one_image(fake_gpu, tmp_path, capsys):
    fake_gpu(capacity=1 << 19)
    options = "--limit 6 --epochs 1 --size 64 --device cuda --precision float32 --batch 3 --out"
    assert main([*options.split(), str(tmp_path / "a")]) == 2
    assert capsys.readouterr().err.endswith("; not even one image fits: try a smaller --size, or --device cpu\n")


def test_memory_that_the_cpu_lacks_is_no_matter_of_batches():
    network = small_gap()
    with pytest.raises(MemoryError), inference.enough_memory(network, None):
        raise MemoryError
    with pytest.raises(MinicamError, match="something else"), inference.enough_memory(network, None):
        raise MinicamError("something else")
