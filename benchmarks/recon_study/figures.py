"""Figures of docs/reconstruction.md from the lines of the study, and from its images where they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Record = dict[str, Any]
COLOURS = {
    "osem": "0.2", "osem-filtered": "0.45", "osem-stopped": "0.65", "osl": "tab:brown", "bsrem": "tab:blue",
    "noise2noise": "tab:orange", "split-likelihood": "tab:green", "deep-image-prior": "tab:purple",
    "supervised": "tab:red",
}  # fmt: skip
PHANTOMS = ("nema", "lesions", "torso")
PICTURED = ("nema", "lesions")
SLICE_Z_MM = {"nema": 40.0, "lesions": 45.0}
"""Above the middle: through the spheres, and through two lesions and the warm organ."""
VOXEL_MM = 4.8


def figures(records: Sequence[Record], out: Path, images: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    out.mkdir(exist_ok=True)
    _errors(records, out / "recon-study-error.png")
    _recovery(records, out / "recon-study-recovery.png")
    _doses(records, out / "recon-study-dose.png")
    for phantom in PICTURED:
        _pictures(phantom, images, out / f"recon-study-{phantom}.png")


def _of(records: Sequence[Record], **wanted: object) -> list[Record]:
    return [r for r in records if all(r[key] == value for key, value in wanted.items())]


def _by_method(axis: Any, records: Sequence[Record], of: Any) -> None:
    """Mean and standard deviation between seeds of every method, and each seed as a dot."""
    for place, (method, colour) in enumerate(COLOURS.items()):
        if values := [of(r) for r in _of(records, method=method)]:
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            axis.errorbar(
                place, np.mean(values), yerr=spread, color=colour, capsize=3, marker="_", markersize=9
            )
            axis.plot([place + 0.25] * len(values), values, ".", color=colour, markersize=3)
    axis.set_xticks(range(len(COLOURS)), list(COLOURS), rotation=90, fontsize=7)
    axis.grid(axis="y", color="0.92")
    axis.spines[["top", "right"]].set_visible(False)


def _errors(records: Sequence[Record], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(10, 6), sharex=True, layout="constrained")
    for row, counts in zip(axes, (1e6, 5e6), strict=True):
        for axis, phantom in zip(row, PHANTOMS, strict=True):
            _by_method(axis, _of(records, phantom=phantom, counts=counts), lambda r: r["nrmse"])
            axis.set_title(f"{phantom}, {counts:.0e} counts", fontsize=9)
        row[0].set_ylabel("NRMSE in the body")
    _save(figure, path)


def _recovery(records: Sequence[Record], path: Path) -> None:
    """Recovery of the NEMA spheres by diameter."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, counts in zip(axes, (1e6, 5e6), strict=True):
        for number, (method, colour) in enumerate(COLOURS.items()):
            found = _of(records, phantom="nema", counts=counts, method=method)
            if not found:
                continue
            names = [n for n in found[0]["recovery"] if n.startswith("sphere")]
            values = np.array([[r["recovery"][n] for n in names] for r in found])
            spread = values.std(axis=0, ddof=1) if len(found) > 1 else None
            diameter = np.array([float(n.split()[1]) for n in names]) + 0.15 * (number - 4)
            axis.errorbar(diameter, values.mean(axis=0), yerr=spread, color=colour, label=method,
                          marker="o", markersize=3, linewidth=1, capsize=2)  # fmt: skip
        axis.axhline(1, color="0.8", linewidth=0.8, zorder=0)
        axis.set(title=f"{counts:.0e} counts", xlabel="diameter of the sphere, mm")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("recovery")
    axes[0].legend(fontsize=7, frameon=False)
    _save(figure, path)


def _doses(records: Sequence[Record], path: Path) -> None:
    """Mean dose of the torso's organs and lesions over that of the true activity."""
    from matplotlib import pyplot as plt

    names = ("liver", "kidney left", "lesion liver", "lesion bone")
    figure, axes = plt.subplots(2, 4, figsize=(11, 6), sharex=True, sharey=True, layout="constrained")
    for row, counts in zip(axes, (1e6, 5e6), strict=True):
        for axis, name in zip(row, names, strict=True):
            _by_method(axis, _of(records, phantom="torso", counts=counts), lambda r, n=name: r["dose"][n])
            axis.axhline(1, color="0.8", linewidth=0.8, zorder=0)
            axis.set_title(f"{name}, {counts:.0e} counts", fontsize=9)
        row[0].set_ylabel("dose over true dose")
    _save(figure, path)


def _pictures(phantom: str, images: Path, path: Path) -> None:
    """One slice of every method's image, of the first seed whose image was kept; as it was where none was."""
    from matplotlib import pyplot as plt

    if not list(images.glob(f"{phantom}-*.npy")):
        print(f"{path.name}: images of {phantom} are not in {images}, the figure stays")
        return
    figure, axes = plt.subplots(2, len(COLOURS), figsize=(16, 4), layout="constrained")
    for counts, line in zip((1e6, 5e6), axes, strict=True):
        for axis, method in zip(line, COLOURS, strict=True):
            axis.set_axis_off()
            if found := sorted(images.glob(f"{phantom}-{counts:.0e}-?-{method}.npy")):
                image = np.load(found[0])
                level = round(image.shape[0] / 2 - 0.5 + SLICE_Z_MM[phantom] / VOXEL_MM)
                axis.imshow(image[level] / 1e3, cmap="gray_r", vmin=0, vmax=500 if phantom == "nema" else 250)
                axis.set_title(f"{method}, {counts:.0e}", fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    print(path)
