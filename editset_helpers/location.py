"""Which test images an edit set holds: decided by their pixels, and by one function for everything that asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from editset_helpers.edit_set import EditSet
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import to_inputs

ROUNDING = 1e-4  # two images that differ anywhere the network looks differ by 7e-4 in its inputs
SAME = 3 / 255  # resizing by Pillow or in bytes, which others may have used, differs by up to 2/255
NEAR = 14 / 255  # of means: JPEG of quality 30 moves CIFAR-10's by up to 12.6/255, its next image is at 15.7/255
BLOCK = 4
BATCH = 500


@dataclass(frozen=True, eq=False)
class Location:
    """Where the N edit images are among T test images.

    Attributes:
        indices: int64, (N,), each one's test image; -1 where it is none, or that is not known.
        outside: bool, (T,), the test images that have no edit image's pixels; None where that is not known.
        note: what one has to know about this, a sentence; None where nothing is out of the ordinary.
    """

    indices: NDArray[np.int64]
    outside: NDArray[np.bool_] | None
    note: str | None


def locate(edit_set: EditSet, test: ImageDataset) -> Location:
    """Find the edit images among test images by what the network sees of them.

    A number in the metadata (``image_idx``) is believed where the pixels agree; other images are looked for. An image
    whose pixels are no test image's is none, unless its number says that it is one, or it is nearly one, as after
    compressing anew: then nobody knows which test images are outside the edit set.

    Where the set says that its images are training images or pictures of one's own, that is believed: they take no
    test image away but those with their pixels, and pictures of one's own also those that they nearly are.
    """
    claims = edit_set.claimed_indices()
    indices = _confirmed(claims, edit_set, test)
    inside = np.zeros(len(test), dtype=bool)
    inside[indices[indices >= 0]] = True
    _add_twins(inside, test)
    is_elsewhere, is_own = _training_images(edit_set), edit_set.source == "files"
    undecided, near, left_out = 0, 0, 0
    for position, found, alike in _searched(np.flatnonzero(indices < 0), edit_set, test):
        claim = claims[position]
        if len(found):
            inside[found] = True
            indices[position] = claim if claim in found else found[0]
        elif is_own and not is_elsewhere[position]:
            inside[alike] = True
            left_out += len(alike) > 0
        elif not is_elsewhere[position]:
            undecided += len(alike) > 0 or claim >= 0
            near += len(alike) > 0
    renumbered = int(((claims >= 0) & (claims != indices)).sum())
    if undecided or inside.all():
        return Location(indices, None if undecided else ~inside, _why_no_drawdown(len(edit_set), undecided, near))
    return Location(indices, ~inside, _note(len(edit_set), 0 if is_own else renumbered, left_out))


def _training_images(edit_set: EditSet) -> NDArray[np.bool_]:
    """Which images are training images, (N,), as a set says that was made here."""
    return (edit_set.claimed_indices("train") >= 0) & (edit_set.source in {"train", "files"})


def own_training_images(
    edit_set: EditSet, training: ImageDataset, alike: Iterable[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """The training images that are in the edit set, ascending, whatever its metadata say: the pixels decide.

    Args:
        edit_set: the edit images.
        training: the training images.
        alike: for each edit image those among which it can be.
    """
    inside = np.zeros(len(training), dtype=bool)
    found = _confirmed(edit_set.claimed_indices("train"), edit_set, training)
    inside[found[found >= 0]] = True
    for position, candidates in enumerate(alike):
        if len(candidates) and found[position] < 0:
            inside[_same(_of(edit_set, np.array([position]), training)[0], candidates, training)] = True
    _add_twins(inside, training)
    return np.flatnonzero(inside)


ALL_DISPUTED = "note: all test images outside the edit set are disputed: there is no drawdown without them."


def without(outside: NDArray[np.bool_], disputed: list[int]) -> NDArray[np.bool_]:
    """A mask of test images, (T,), less those with these numbers."""
    kept = outside.copy()
    kept[disputed] = False
    return kept


def numbered(edit_set: EditSet, location: Location) -> EditSet:
    """The set with every image's true ``image_idx`` in its metadata, and none where the image is no test image."""
    metadata = [
        {key: value for key, value in facts.items() if key != "image_idx"}
        | ({"image_idx": index} if index >= 0 else {})
        for facts, index in zip(edit_set.metadata, location.indices.tolist(), strict=True)
    ]
    return replace(edit_set, metadata=metadata)


def _confirmed(claims: NDArray[np.int64], edit_set: EditSet, test: ImageDataset) -> NDArray[np.int64]:
    """The numbers that the metadata claim, where the pixels agree; else -1."""
    indices = np.full(len(claims), -1, dtype=np.int64)
    possible = np.flatnonzero((claims >= 0) & (claims < len(test)))
    for start in range(0, len(possible), BATCH):
        part = possible[start : start + BATCH]
        same = _distances(_seen(test, claims[part]), _of(edit_set, part, test)) <= ROUNDING
        indices[part[same]] = claims[part[same]]
    return indices


def _distances(some: torch.Tensor, others: torch.Tensor) -> NDArray[np.float32]:
    """The largest difference of any pixel, (N,), of images (N, 3, S, S)."""
    return np.asarray((some - others).abs().amax(dim=(1, 2, 3)).numpy())


def _add_twins(inside: NDArray[np.bool_], test: ImageDataset) -> None:
    """Add the test images that look like one inside; only those with its inner pixels can."""
    known = {test.images[index, 2:-2, 2:-2].tobytes(): index for index in np.flatnonzero(inside)}
    for index in np.flatnonzero(~inside) if known else ():
        twin = known.get(test.images[index, 2:-2, 2:-2].tobytes())
        if twin is not None:
            one, other = _seen(test, np.array([index, twin]))
            inside[index] = bool((one - other).abs().max() <= ROUNDING)


def _searched(
    positions: NDArray[np.int64], edit_set: EditSet, test: ImageDataset
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Edit images, the test images with their pixels, and those that they are near.

    An image that is near several that differ has none's pixels.
    """
    if not len(positions):
        return
    images, starts = _of(edit_set, positions, test), range(0, len(test), BATCH)
    apart = np.concatenate([_apart(images, _seen(test, slice(start, start + BATCH))) for start in starts], axis=1)
    for position, image, distances in zip(positions.tolist(), images, apart, strict=True):
        candidates = np.flatnonzero(distances <= SAME + ROUNDING)
        yield position, _same(image, candidates, test), np.flatnonzero(distances <= NEAR)


def _seen(test: ImageDataset, chosen: NDArray[np.int64] | slice) -> torch.Tensor:
    """What the network sees of test images, without the normalisation: in [0, 1]."""
    return to_inputs(test.images[chosen], test.preprocessing.unnormalised)


def _of(edit_set: EditSet, positions: NDArray[np.int64], test: ImageDataset) -> torch.Tensor:
    """The same of edit images."""
    return test.preprocessing.unit(edit_set.images[torch.from_numpy(positions)])


def _apart(some: torch.Tensor, others: torch.Tensor) -> NDArray[np.float64]:
    """The root mean square difference of means of 4 x 4 pixels, (N, M); it is never above the largest of any pixel."""
    rows, columns = (functional.avg_pool2d(images, BLOCK).flatten(1).double() for images in (some, others))
    squares = rows.square().sum(dim=1)[:, None] + columns.square().sum(dim=1) - 2 * rows @ columns.T
    return np.asarray((squares.clamp(min=0) / rows.shape[1]).sqrt().numpy())


def _same(image: torch.Tensor, candidates: NDArray[np.int64], test: ImageDataset) -> NDArray[np.int64]:
    if not len(candidates):
        return candidates
    inputs = _seen(test, candidates)
    distances = _distances(inputs, image[None])
    reached = ROUNDING if distances.min() <= ROUNDING else SAME
    found = np.flatnonzero(distances <= reached)
    alike = len(found) > 0 and _distances(inputs[found], inputs[found[:1]]).max() <= ROUNDING
    return candidates[found] if alike else candidates[:0]


def _why_no_drawdown(count: int, undecided: int, near: int) -> str:
    if not undecided:
        return "drawdown is not given: every test image is in the edit set."
    why = f"{near} are nearly test images, " * bool(near)
    return (
        f"drawdown is not given: {undecided} of {count} edit images do not have the pixels of the test images that "
        f"their numbers (image_idx) or looks say they are ({why}{undecided - near} only by number), so it is not "
        "known which test images are outside the edit set."
    )


def _note(count: int, renumbered: int, left_out: int) -> str | None:
    if left_out:
        return (
            f"{left_out} of {count} edit images are nearly test images, as after compressing anew; drawdown leaves "
            "these test images out, too."
        )
    if renumbered:
        return f"the numbers (image_idx) of {renumbered} of {count} edit images are others'; they were found by pixels."
    return None
