"""Right concentrations of small things, and what must hold whatever the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.errors import Inconsistent
from dicomnode.recovery import Scan, Width, WidthSource, assumed, make_shares, recover_scan
from dicomnode.recovery.budget import Errors
from dicomnode.recovery.estimate import sphere_recovery, width_of_patient, width_of_spheres
from dicomnode.recovery.recover import recover
from dicomnode.recovery.shares import Shares, moved_edges
from dicomnode.recovery.solve import Solution, build_system, solve
from tests.recovery.conftest import FWHM_MM, SITE, SPACING, Toy, coarse, fine_ball, make_toy


def solved(toy: Toy, width: Width = SITE, names: tuple[str, ...] = ()) -> tuple[Shares, Solution]:
    shares = make_shares({n: toy.shares[n] for n in names or toy.shares}, toy.body, SPACING)
    return shares, solve(build_system(shares, width), toy.image, width)


def found(toy: Toy, width: Width = SITE, names: tuple[str, ...] = ()) -> dict[str, float]:
    shares, solution = solved(toy, width, names)
    return {n: c / toy.true[n] for n, c in zip(shares.names, solution.concentration, strict=True)}


def test_uniform_regions_come_out_right_to_one_percent(toy: Toy) -> None:
    assert found(toy) == pytest.approx(dict.fromkeys(toy.true, 1.0), abs=0.01)


def test_the_image_itself_shows_half_and_less_of_small_lesions(toy: Toy) -> None:
    shares, solution = solved(toy)
    shown = dict(zip(shares.names, solution.measured, strict=True))
    assert 0.45 < shown["lesion"] / toy.true["lesion"] < 0.60
    assert 0.25 < shown["node"] / toy.true["node"] < 0.40


def test_a_lesion_alone_is_corrected_against_what_lies_near_it(toy: Toy) -> None:
    assert found(toy, names=("lesion",))["lesion"] == pytest.approx(1.0, abs=0.05)


def test_voxels_that_regions_share_are_shared_out(toy: Toy) -> None:
    made = recover_scan(Scan("T1", toy.image, make_shares(toy.shares, toy.body, SPACING), SITE))
    volume = made.scan.shares.volume_ml
    for name, a, v in zip(made.scan.shares.names, made.by_shares, volume, strict=True):
        assert a / v / toy.true[name] == pytest.approx(1.0, abs=0.012), name
    assert made.total_ratio == pytest.approx(1.0, abs=0.01)


def test_a_uniform_body_is_its_own_answer(toy: Toy) -> None:
    image = np.full_like(toy.image, 3.0)
    body = np.ones_like(toy.body)
    shares = make_shares({"body": body}, body, SPACING)
    padded_width = Width.of(0.0, 0.05, WidthSource.SITE)
    solution = solve(build_system(shares, padded_width), image, padded_width)
    assert solution.concentration[0] == pytest.approx(3.0, abs=3e-6)


def test_without_blur_masks_are_left_as_they_are(toy: Toy) -> None:
    masks = {n: (s >= 0.5).astype(np.float32) for n, s in toy.shares.items()}
    none = Width.of(0.0, 0.05, WidthSource.SITE)
    shares = make_shares(masks, toy.body, SPACING)
    solution = solve(build_system(shares, none), toy.image, none)
    assert solution.concentration == pytest.approx(solution.measured, rel=1e-6)


def exact(toy: Toy) -> Toy:
    """The image that the solver itself would draw: what remains is arithmetic."""
    from dicomnode.recovery.solve import blur, expected

    shares = make_shares(toy.shares, toy.body, SPACING)
    system = build_system(shares, SITE)
    image = expected(system, np.array([toy.true[n] for n in shares.names]))
    rest = np.float32(toy.background) * shares.rest
    return replace(toy, image=image + blur(rest, system.sigma_zyx, "nearest"))


def test_a_region_split_in_two_gives_the_same_concentration_twice(toy: Toy) -> None:
    made = exact(toy)
    left = made.shares["organ"].copy()
    left[:, :, 12:] = 0
    parts = {"left": left, "right": made.shares["organ"] - left, **_without(made.shares, "organ")}
    shares = make_shares(parts, made.body, SPACING)
    solution = solve(build_system(shares, SITE), made.image, SITE)
    c = dict(zip(shares.names, solution.concentration, strict=True))
    assert (c["left"], c["right"]) == pytest.approx((1.0, 1.0), abs=3e-4)


def _without(shares: object, name: str) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {n: s for n, s in dict(shares).items() if n != name}  # type: ignore[call-overload]


def test_a_region_without_activity_gets_none(toy: Toy) -> None:
    shares = make_shares(toy.shares, toy.body, SPACING)
    system = build_system(shares, SITE)
    from dicomnode.recovery.solve import expected

    image = expected(system, np.array([1.0, 0.0, 2.0]))
    assert abs(solve(system, image, SITE).concentration[1]) < 1e-5


def test_the_order_of_regions_does_not_matter(toy: Toy) -> None:
    turned = replace(toy, shares=dict(reversed(list(toy.shares.items()))))
    assert found(turned) == pytest.approx(found(toy), rel=1e-6)


def test_doubling_all_activity_doubles_every_concentration() -> None:
    one, two = solved(make_toy())[1], solved(make_toy(2.0))[1]
    assert two.concentration == pytest.approx(2 * one.concentration, rel=1e-6)


def test_moving_image_and_contours_together_changes_nothing(toy: Toy) -> None:
    roll = {n: np.roll(s, 1, axis=2) for n, s in toy.shares.items()}
    moved = replace(toy, shares=roll, image=np.roll(toy.image, 1, 2), body=np.roll(toy.body, 1, 2))
    assert found(moved) == pytest.approx(found(toy), abs=3e-4)


def test_a_lesion_within_an_organ_is_owned_once_and_held_twice(toy: Toy) -> None:
    inner = coarse(fine_ball((50.0, 60.0, 55.0), 9.0))
    shares = make_shares({"organ": toy.shares["organ"], "inner": inner}, toy.body, SPACING)
    whole = float(toy.shares["organ"].sum()) * shares.voxel_ml
    assert shares.volume_ml.sum() == pytest.approx(whole, rel=1e-4)
    assert shares.whole_ml("organ") == pytest.approx(whole, rel=1e-4)
    assert shares.holds["inner"][0] == 0
    total = sum(one.within((slice(0, 24), slice(0, 30), slice(0, 32))) for one in shares.owned)
    assert float(np.max(total)) <= 1 + 1e-6


def test_a_segmented_organ_that_leaves_its_lesion_out_keeps_its_edge(toy: Toy) -> None:
    inner = coarse(fine_ball((50.0, 60.0, 55.0), 9.0))
    shell = toy.shares["organ"] - inner
    shares = make_shares({"organ": shell, "inner": inner}, toy.body, SPACING)
    volume = dict(zip(shares.names, shares.volume_ml, strict=True))
    assert volume["organ"] == pytest.approx(float(shell.sum()) * shares.voxel_ml, rel=1e-3)


@pytest.mark.parametrize("radius_mm", [6.0, 10.0, 20.0])
def test_edges_move_by_the_distance_asked(radius_mm: float, toy: Toy) -> None:
    ball = coarse(fine_ball((50.0, 60.0, 60.0), radius_mm))
    shares = make_shares({"ball": ball}, toy.body, SPACING)
    for by_mm in (-1.0, 1.0):
        wanted = ((radius_mm + by_mm) / radius_mm) ** 3
        got = moved_edges(shares, by_mm).volume_ml[0] / shares.volume_ml[0]
        assert got == pytest.approx(wanted, rel=0.04)


def test_spheres_say_how_wide_the_image_is() -> None:
    # NEMA spheres of 10 to 37 mm in an image of 12 mm; 0.68 at 26.5 mL is stated in the literature.
    assert sphere_recovery(26.5, 12.0) == pytest.approx(0.68, abs=0.01)
    volumes = [0.52, 1.15, 2.57, 5.58, 11.5, 26.5]
    width = width_of_spheres(volumes, [sphere_recovery(v, 12.0) for v in volumes], WidthSource.SPHERES)
    assert width.fwhm_mm == pytest.approx([12.0] * 6, abs=0.01)
    assert width.relative_uncertainty == 0.05


def test_a_sphere_that_shows_more_than_it_holds_is_refused() -> None:
    with pytest.raises(Inconsistent, match=r"recovery 1.05 of a sphere of 2.00 mL .* Check the calibration"):
        width_of_spheres([2.0], [1.05], WidthSource.SPHERES)


def test_the_patients_own_image_says_its_width(toy: Toy) -> None:
    width = width_of_patient(toy.image, make_shares(toy.shares, toy.body, SPACING))
    assert width is not None
    assert width.fwhm_mm[0] == pytest.approx(FWHM_MM, abs=0.5)
    assert width.source is WidthSource.PATIENT


def test_an_assumed_width_corrects_nothing_and_bounds_the_dose(toy: Toy) -> None:
    shares = make_shares(toy.shares, toy.body, SPACING)
    regions, _ = recover([Scan("T1", toy.image, shares, assumed())], 0, Errors())
    assert {r.withheld for r in regions} == {"the width of the image is not known"}
    lesion = next(r for r in regions if r.region == "lesion")
    assert lesion.bias > 0.4


def test_small_regions_are_less_well_known_and_by_their_contour(toy: Toy) -> None:
    shares = make_shares(toy.shares, toy.body, SPACING)
    regions, _ = recover([Scan("T1", toy.image, shares, SITE)], 0, Errors())
    by = {r.region: r for r in regions}
    assert by["node"].sigma_log > by["lesion"].sigma_log > by["organ"].sigma_log
    assert {r.limited_by for r in regions} == {"contour"}
    assert not by["lesion"].withheld


def test_a_region_too_small_to_resolve_is_withheld_with_its_reason(toy: Toy) -> None:
    wide = Width.of(18.0, 0.05, WidthSource.SITE)
    shares = make_shares(toy.shares, toy.body, SPACING)
    regions, _ = recover([Scan("T1", toy.image, shares, wide)], 0, Errors())
    withheld = {r.region: r.withheld for r in regions}
    assert withheld["node"].startswith("smaller than 2.0 mL")
    assert not withheld["organ"]


# Mutations: what must not go unseen.


def test_a_matrix_with_its_rows_swapped_is_wrong(toy: Toy) -> None:
    shares = make_shares(toy.shares, toy.body, SPACING)
    system = build_system(shares, SITE)
    turned = replace(system, matrix=system.matrix.T)
    right = solve(system, toy.image, SITE).concentration / list(toy.true.values())
    wrong = solve(turned, toy.image, SITE).concentration / list(toy.true.values())
    assert np.abs(right - 1).max() < 0.01 < 0.05 < np.abs(wrong - 1).max()


def test_masks_in_place_of_shares_are_wrong(toy: Toy) -> None:
    masks = {n: (s >= 0.5).astype(np.float32) for n, s in toy.shares.items()}
    assert max(abs(f - 1) for f in found(replace(toy, shares=masks)).values()) > 0.04


def test_forgetting_the_voxels_own_blur_is_wrong(toy: Toy) -> None:
    a = SPACING[0]
    forgotten = Width.of(float(np.sqrt(FWHM_MM**2 + a * a / 12 * 5.545)), 0.05, WidthSource.SITE)
    assert max(abs(f - 1) for f in found(toy, forgotten).values()) > 0.02
