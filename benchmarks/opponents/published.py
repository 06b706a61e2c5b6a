"""What others published of their own repairs. Nothing here was measured by this benchmark.

Only figures that the source itself states are here; where none could be read at the source, the field says in kind what
it reports. Drawdown is what the source calls so: of its own network, on its own images.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published result.

    Attributes:
        method: its name.
        repaired: which network, and what was put right.
        guarantee: what is proved of the edits.
        drawdown, time: as the source prints them; a dash where it does not, or where it could not be read.
        source: where the figures stand.
    """

    method: str
    repaired: str
    guarantee: str
    drawdown: str
    time: str
    source: str


PRDNN_PAPER = "Sotoudeh and Thakur, PLDI 2021, arXiv:2104.04413"
APRNN_PAPER = "Tao, Nawas, Mitchell and Thakur, PLDI 2023, doi:10.1145/3591238"
TABLE_1 = f"{APRNN_PAPER}, Table 1, as printed in the README of the authors' repository 95616ARG/APRNN"
SECTION_6_2 = f"{APRNN_PAPER}, Section 6.2, as printed in the same README"
POINTS = "every edit image right"

PUBLISHED = (
    Published(
        "PRDNN",
        "SqueezeNet, natural adversarial images (ImageNet-A), four sizes from 100 images on, every layer tried",
        f"{POINTS}, by another architecture (decoupled)",
        "reported for the best layer, not read",
        "reported, not read",
        f"{PRDNN_PAPER}, Table 1; its README: at most 300 GB and 32 threads",
    ),
    Published("PRDNN", "MNIST 9x200, 100 images with fog", f"{POINTS}, decoupled", "3.92 %", "5 s", TABLE_1),
    Published("APRNN", "MNIST 9x200, 100 images with fog", POINTS, "1.38 %", "455 s", TABLE_1),
    Published("APRNN", "MNIST 3x100, 100 images with fog", POINTS, "1.28 %", "5 s", TABLE_1),
    Published("APRNN", "ResNet152, 50 images of ImageNet-A", POINTS, "3.15 % (top-1)", "2,789 s", SECTION_6_2),
    Published("APRNN", "VGG19, 50 images of ImageNet-A", POINTS, "1.86 % (top-1)", "2,725 s", SECTION_6_2),
    Published("PRDNN", "ResNet152 and VGG19, the same images", POINTS, "failed", "out of memory", SECTION_6_2),
    Published(
        "ROME",
        "GPT-2 XL (1.5 billion weights) and GPT-J (6 billion), one fact at a time",
        "none",
        "specificity on CounterFact instead",
        "-",
        "Meng, Bau, Andonian and Belinkov, NeurIPS 2022, arXiv:2202.05262",
    ),
    Published(
        "MEMIT",
        "GPT-J (6 billion weights) and GPT-NeoX (20 billion), thousands of facts at once",
        "none",
        "specificity on CounterFact instead",
        "-",
        "Meng, Sen Sharma, Andonian, Belinkov and Bau, ICLR 2023, arXiv:2210.07229",
    ),
)
