"""Fixtures that several tests share: the real data where it is there, and a folder to work in.

What is heavy is imported where it is used: the process that hands tests to workers runs none, and needs no torch.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import gc
import lzma
import os
import resource
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.images.datasets import ImageDataset
    from helpers.images.source import ImageSource, Split

CHECKOUT = Path(__file__).parent.parent
SHARED = CHECKOUT.parent / "shared" / "data"
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
MUCH, MORE = 2**29, 2**27  # bytes; what is imported takes 300 MB


def pytest_configure(config: pytest.Config) -> None:
    """Workers, and what they start, share the cores: threads that wait for each other's cost more than they give."""
    workers = config.getoption("numprocesses", None)
    if workers and not IS_WORKER:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
        return
    from hypothesis import settings

    settings.register_profile("suite", deadline=None)  # machines differ, and coverage slows what it looks at
    settings.load_profile("suite")


def pytest_collection_finish() -> None:
    """What was imported for the tests is looked through for garbage no more: it takes half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _give_memory_back() -> Iterator[None]:
    """Where the process has half a gigabyte, and clearly more than last time, it gives back what nobody needs."""
    yield
    if _own_memory() > _kept[0] + MORE:
        from checker.network import _read_base
        from experiments.single import _bench_at
        from helpers.stopwatch import give_memory_back

        _bench_at.cache_clear()
        _read_base.cache_clear()
        gc.collect()
        give_memory_back()
        _kept[0] = _own_memory()
    _kept[0] = max(min(_kept[0], _own_memory()), MUCH - MORE)


@pytest.fixture(autouse=True)
def _tell_anew() -> None:
    """What an earlier test was told once, this one is told, too."""
    from helpers.cli import say_once

    say_once.cache_clear()


_kept = [MUCH - MORE]  # bytes that were left when memory was given back last


def _own_memory() -> int:
    """Bytes of this process in memory, without those of files; 0 where the system does not tell."""
    try:
        _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
        return (resident - shared) * resource.getpagesize()
    except OSError:
        return 0


@pytest.fixture(scope="session", autouse=True)
def _hear_ctrl_c() -> None:
    """Processes that tests start hear Ctrl-C, even where the suite is a shell's background job, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one worker make what is at a path, while the others wait for it."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def raising(error: BaseException) -> Callable[..., object]:
    """A function that raises a copy of an error: a traceback that lives on keeps the networks of its frames."""

    def fails(*_: object, **__: object) -> None:
        raise copy.copy(error) from error.__cause__

    return fails


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this test run, for all of its workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if IS_WORKER else own


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest) -> Path:
    """A folder that outlives the test run, for what is slow to unpack."""
    return Path(request.config.cache.mkdir("real-data"))


@pytest.fixture(scope="session")
def cifar_root(kept: Path) -> Path:
    """The image-folder copy of CIFAR-10: the checkout's, else unpacked from the shared archive."""
    if (CHECKOUT / "data/cifar10/test").is_dir():
        return CHECKOUT / "data/cifar10"
    archive = SHARED / "cifar10-jpeg.tar.xz"
    with one_at_a_time(kept / "cifar10"):
        if not (kept / "cifar10").is_dir():
            if not archive.is_file():
                pytest.skip(f"no CIFAR-10 images: neither data/cifar10 nor {archive}")
            shutil.rmtree(kept / "unpacking", ignore_errors=True)
            with tarfile.open(archive) as packed:
                packed.extractall(kept / "unpacking", filter="data")
            (kept / "unpacking").rename(kept / "cifar10")
    return kept / "cifar10"


@pytest.fixture(scope="session")
def some_cifar(cifar_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of 20 test and 30 training images a class of CIFAR-10."""
    folder = tmp_path_factory.mktemp("some-cifar")
    for split, count in (("test", 20), ("train", 30)):
        for source in (cifar_root / split).iterdir():
            target = folder / split / source.name
            target.mkdir(parents=True)
            for file in sorted(source.iterdir())[:count]:
                (target / file.name).symlink_to(file)
    return folder


@pytest.fixture(scope="session")
def cifar_weights(kept: Path) -> Path:
    """The shared CIFAR-10 checkpoint (float16)."""
    packed, weights = SHARED / "alexnet_base_fp16.pth.xz", kept / "alexnet_base.pth"
    with one_at_a_time(weights):
        if not weights.is_file():
            if not packed.is_file():
                pytest.skip(f"no CIFAR-10 checkpoint: {packed} is absent")
            with lzma.open(packed) as source, weights.with_suffix(".part").open("wb") as target:
                shutil.copyfileobj(source, target)
            weights.with_suffix(".part").rename(weights)
    return weights


@pytest.fixture(scope="session")
def cifar_test(cifar_root: Path, kept: Path) -> ImageDataset:
    """The 10,000 CIFAR-10 test images."""
    from helpers.images.folder import ImageFolder

    return _dataset(ImageFolder(cifar_root), "test", kept)


@pytest.fixture(scope="session")
def digits_train(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """The 1,201 training digits."""
    from helpers.images.digits import Digits

    return _dataset(Digits(), "train", tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def digits_test(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """The 596 test digits."""
    from helpers.images.digits import Digits

    return _dataset(Digits(), "test", tmp_path_factory.mktemp("digits"))


def _dataset(source: ImageSource, split: Split, cache: Path) -> ImageDataset:
    from helpers.images.cache import load_cached
    from helpers.images.datasets import ImageDataset

    decoded, content_hash = load_cached(source, split, cache)
    return ImageDataset(source.name, split, decoded.images, decoded.labels, decoded.class_names, content_hash)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in: the scripts' default paths are relative, so nothing of the checkout is touched."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """An image folder of noise: classes cat and dog, 3 training and 5 test images each."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 5)):
        for class_name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / class_name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "pets"


@pytest.fixture(scope="session")
def digits_baseline(shared_folder: Path) -> Path:
    """The baseline of the digits, trained for real, once a session (about 25 s), with its record beside it.

    It is trained on all cores, for the other workers wait for it.
    """
    import torch

    from helpers.cli import DatasetName
    from model_classes.training import train_alexnet

    weights = shared_folder / "baseline" / "alexnet_base_digits.pth"
    weights.parent.mkdir(exist_ok=True)
    with one_at_a_time(weights.parent), contextlib.chdir(weights.parent):
        if not weights.is_file():
            threads = torch.get_num_threads()
            torch.set_num_threads(os.cpu_count() or 1)
            train_alexnet(DatasetName.DIGITS, weights)
            torch.set_num_threads(threads)
    return weights


@pytest.fixture(scope="session")
def warm_cache(shared_folder: Path) -> Path:
    """What depends on a network alone is computed once in a session; its files are named by what they are made from."""
    (shared_folder / "cache").mkdir(exist_ok=True)
    return shared_folder / "cache"


@pytest.fixture
def warm_workplace(workplace: Path, warm_cache: Path) -> Path:
    """A folder to work in that is empty but for the session's cache."""
    return with_cache(workplace, warm_cache)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory, warm_cache: Path) -> Path:
    """Edit sets stay from test to test, and the session's cache is there."""
    return with_cache(tmp_path_factory.mktemp("project"), warm_cache)


def with_cache(folder: Path, cache: Path) -> Path:
    """Give a folder a cache."""
    (folder / "data").mkdir()
    (folder / "data/cache").symlink_to(cache)
    return folder


@pytest.fixture
def repairs_folder(module_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder to work in, where a test leaves neither repairs nor temporary files."""
    monkeypatch.chdir(module_folder)
    yield
    for path in Path().glob("repaired*"):
        path.unlink()
    assert not list(Path().glob(".repaired*")), "a temporary file was left behind"
