"""The system model against what can be said without it: geometry, transpose, widths, attenuation."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.errors import Inconsistent
from dicomnode.recon.camera.collimator import FWHM_PER_SIGMA, Response, collimator
from dicomnode.recon.camera.model import Geometry, differentiable
from dicomnode.recon.camera.projector import ParallelHoleModel
from dicomnode.recon.camera.rotation import rotation, scipy_rotation, support, torch_rotation

Float32 = npt.NDArray[np.float32]
SIEMENS_ME = collimator("siemens-me").response(208.4)


def camera(
    views: int = 8, size: int = 24, planes: int = 10, voxel_mm: float = 4.8, radius_mm: float = 200.0
) -> Geometry:
    angles = np.arange(views) * 360.0 / views + 3.7
    return Geometry((planes, size, size), (voxel_mm, voxel_mm), angles, np.full(views, radius_mm))


def body(geometry: Geometry, radius_mm: float, mu_per_cm: float = 0.135) -> Float32:
    _, y, x = coordinates(geometry)
    return np.broadcast_to(np.where(np.hypot(x, y) <= radius_mm, mu_per_cm, 0), geometry.shape_zyx).astype(
        np.float32
    )


def coordinates(geometry: Geometry) -> tuple[npt.NDArray[np.float64], ...]:
    planes, size, _ = geometry.shape_zyx
    across, along = geometry.voxel_mm
    axis = (np.arange(size) - (size - 1) / 2) * across
    z = (np.arange(planes) - (planes - 1) / 2) * along
    return z[:, None, None], axis[None, :, None], axis[None, None, :]


def point(geometry: Geometry, z: int, y: int, x: int) -> torch.Tensor:
    image = torch.zeros(geometry.shape_zyx)
    image[z, y, x] = 1.0
    return image


def fwhm(profile: npt.NDArray[np.floating], step_mm: float) -> float:
    """Of a Gaussian profile, from its second moment."""
    at = np.arange(len(profile)) * step_mm
    mean = (profile * at).sum() / profile.sum()
    return float(FWHM_PER_SIGMA * np.sqrt((profile * (at - mean) ** 2).sum() / profile.sum()))


@settings(deadline=None, max_examples=40)
@given(
    size=st.integers(5, 21),
    planes=st.integers(1, 9),
    angles=st.lists(st.floats(-400, 400), min_size=1, max_size=4),
    radius_mm=st.floats(20, 300),
    axial_mm=st.floats(2, 7),
    blurred=st.booleans(),
    attenuated=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_adjoint_is_the_transpose_within_1e6_for_any_camera(
    size: int, planes: int, angles: list[float], radius_mm: float, axial_mm: float,
    blurred: bool, attenuated: bool, seed: int,
) -> None:  # fmt: skip
    geometry = Geometry((planes, size, size), (4.8, axial_mm), np.array(angles),
                        np.full(len(angles), radius_mm))  # fmt: skip
    rng = np.random.default_rng(seed)
    mu = rng.uniform(0, 0.2, geometry.shape_zyx).astype(np.float32) if attenuated else None
    model = ParallelHoleModel(geometry, SIEMENS_ME if blurred else None, mu)
    image = torch.from_numpy(rng.random(geometry.shape_zyx, dtype=np.float32))
    counts = torch.from_numpy(rng.random(geometry.projection_shape, dtype=np.float32))
    seen = (model.forward(image).double() * counts.double()).sum()
    unseen = (image.double() * model.adjoint(counts).double()).sum()
    assert abs(float(seen - unseen)) <= 1e-6 * float(seen)


def test_views_are_seen_where_the_noun_says() -> None:
    """The detector is at (cos a, sin a); bins go along (-sin a, cos a); rows go with z."""
    geometry = Geometry((5, 21, 21), (4.8, 4.8), np.array([0.0, 90.0, 180.0, 30.0]), np.full(4, 200.0))
    model = ParallelHoleModel(geometry, None)
    _, y, x = coordinates(geometry)
    seen = model.forward(point(geometry, 3, 14, 12)).numpy()
    for view, angle in enumerate(np.deg2rad(geometry.angle_deg)):
        across = -np.sin(angle) * x[0, 0, 12] + np.cos(angle) * y[0, 14, 0]
        profile = seen[view, 3]
        assert (profile * x[0, 0]).sum() / profile.sum() == pytest.approx(across, abs=1.0)
        assert seen[view].sum() == pytest.approx(profile.sum())
    near = ParallelHoleModel(geometry, None, body(geometry, 40.0)).forward(point(geometry, 3, 10, 17)).numpy()
    assert near[0].sum() > 1.5 * near[2].sum()


def test_a_point_is_as_wide_as_the_collimator_says_at_every_distance() -> None:
    """A voxel on the axis of views at 60 to 300 mm; no turn of the grid, so that nothing else widens it."""
    radii = np.array([60.0, 120.0, 200.0, 300.0])
    geometry = Geometry((33, 65, 65), (3.3, 3.3), np.zeros(4), radii)
    seen = ParallelHoleModel(geometry, SIEMENS_ME).forward(point(geometry, 16, 32, 32)).numpy()
    for view, radius in enumerate(radii):
        expected = FWHM_PER_SIGMA * float(SIEMENS_ME.sigma_mm(radius))
        assert fwhm(seen[view].sum(axis=0), 3.3) == pytest.approx(expected, rel=2e-3)
        if radius < 300:
            assert fwhm(seen[view].sum(axis=1), 3.3) == pytest.approx(expected, rel=2e-3)
            assert seen[view].sum() == pytest.approx(1.0, abs=2e-3)


def test_a_turned_point_is_as_wide_within_a_voxel_and_a_bin() -> None:
    """Bilinear turning adds on average the variance of a real voxel and bin, edge^2 / 6."""
    geometry = camera(views=40, size=65, planes=3)
    seen = ParallelHoleModel(geometry, SIEMENS_ME).forward(point(geometry, 1, 40, 21)).numpy()
    _, y, x = coordinates(geometry)
    angle = np.deg2rad(geometry.angle_deg)
    depth = np.cos(angle) * x[0, 0, 21] + np.sin(angle) * y[0, 40, 0]
    expected = SIEMENS_ME.sigma_mm(200.0 - depth) ** 2 + 4.8**2 / 6
    found = np.array([fwhm(view.sum(axis=0), 4.8) ** 2 for view in seen]) / FWHM_PER_SIGMA**2
    assert found.mean() == pytest.approx(expected.mean(), rel=0.01)


def test_a_uniform_attenuating_cylinder_is_seen_as_the_exponential_integral_says() -> None:
    """Along a chord of length L a view sees (1 - exp(-mu L)) / mu."""
    voxel_mm, radius_mm, mu = 2.0, 90.0, 0.135
    geometry = Geometry((1, 129, 129), (voxel_mm, voxel_mm), np.array([0.0, 33.0, 45.0]), np.full(3, 200.0))
    filled = body(geometry, radius_mm, mu)
    model = ParallelHoleModel(geometry, None, filled)
    seen = model.forward(torch.from_numpy(filled / np.float32(mu))).numpy()
    _, _, x = coordinates(geometry)
    inside = np.abs(x[0, 0]) < radius_mm - 3 * voxel_mm
    chord_cm = 2 * np.sqrt(radius_mm**2 - x[0, 0, inside] ** 2) / 10
    expected = (1 - np.exp(-mu * chord_cm)) / mu / (voxel_mm / 10)
    for view in seen:
        np.testing.assert_allclose(view[0, inside], expected, rtol=0.02)
        assert view[0, inside].sum() == pytest.approx(expected.sum(), rel=2e-3)


def test_a_point_in_the_middle_of_water_is_attenuated_by_the_way_out() -> None:
    """25 voxels of 4 mm and half its own: 102 mm of water."""
    geometry = Geometry((1, 65, 65), (4.0, 4.0), np.array([0.0, 90.0]), np.full(2, 200.0))
    seen = ParallelHoleModel(geometry, None, body(geometry, 100.0)).forward(point(geometry, 0, 32, 32))
    assert seen.sum(dim=(1, 2)).numpy() == pytest.approx(np.exp(-0.135 * 10.2), rel=1e-3)


def test_counts_are_kept_where_nothing_is_lost() -> None:
    """Averaged over views, turning keeps counts of a smooth object within 1e-3."""
    geometry = camera(views=30, size=40, planes=24)
    z, y, x = coordinates(geometry)
    image = np.exp(-(x**2 + y**2 + z**2) / (2 * 15.0**2)).astype(np.float32)
    seen = ParallelHoleModel(geometry, SIEMENS_ME).forward(torch.from_numpy(image)).sum(dim=(1, 2)).numpy()
    assert seen.mean() == pytest.approx(image.sum(), rel=2e-3)


def test_autograd_gives_the_adjoint_and_its_derivative_the_forward() -> None:
    geometry = camera(views=3, size=16, planes=4)
    model = ParallelHoleModel(geometry, SIEMENS_ME, body(geometry, 30.0))
    passes = differentiable(model)
    image = torch.rand(geometry.shape_zyx, requires_grad=True)
    weights = torch.rand((2, 4, 16), requires_grad=True)
    loss = (passes.forward(image, [0, 2]) * weights).sum()
    (gradient,) = torch.autograd.grad(loss, image, create_graph=True)
    assert torch.allclose(gradient, model.adjoint(weights.detach(), [0, 2]), rtol=1e-6)
    probe = torch.rand_like(image)
    (second,) = torch.autograd.grad((gradient * probe).sum(), weights)
    assert torch.allclose(second, model.forward(probe, [0, 2]), rtol=1e-5, atol=1e-6)


def test_torch_turns_as_scipy_does() -> None:
    """The sparse product that a GPU would run, on the CPU."""
    part = support(camera(), 20.0)
    matrix = rotation(37.0, part)
    planes = torch.rand(part.edge**2, 7)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        turned = torch_rotation(matrix, torch.device("cpu"))
    reference = scipy_rotation(matrix)
    assert torch.allclose(turned.turn(planes), reference.turn(planes), atol=1e-6)
    assert torch.allclose(turned.turn_back(planes), reference.turn_back(planes), atol=1e-6)


def test_a_model_on_torchs_own_sparse_products_sees_the_same() -> None:
    """What runs on a GPU, on the CPU: there is none here."""
    geometry = camera(views=3)
    model = ParallelHoleModel(geometry, SIEMENS_ME, body(geometry, 40.0))
    other = ParallelHoleModel(geometry, SIEMENS_ME, body(geometry, 40.0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        part = support(geometry, 20.0)
        matrices = [rotation(float(angle), part) for angle in geometry.angle_deg]
        other._rotations = [torch_rotation(matrix, torch.device("cpu")) for matrix in matrices]
    image, counts = torch.rand(geometry.shape_zyx), torch.rand(geometry.projection_shape)
    assert torch.allclose(other.forward(image), model.forward(image), rtol=1e-5, atol=1e-6)
    assert torch.allclose(other.adjoint(counts), model.adjoint(counts), rtol=1e-5, atol=1e-6)


def test_nothing_in_front_of_the_detectors_is_cut_off() -> None:
    """An orbit of 80 mm on a field of view of 307 mm: the square shrinks, all within the orbit stays."""
    geometry = camera(views=60, size=64, planes=1, radius_mm=80.0)
    part = support(geometry, 20.0)
    _, y, x = coordinates(geometry)
    window = part.window(64)
    assert 42 <= part.edge <= 46
    assert part.inside[(np.hypot(x, y) <= 80.0)[0, window, window]].all()
    assert not (np.hypot(x, y) <= 80.0)[0, :, : window.start].any()


def test_a_subset_of_views_is_a_part_of_all() -> None:
    geometry = camera(views=6)
    model = ParallelHoleModel(geometry, SIEMENS_ME, body(geometry, 40.0))
    image = torch.rand(geometry.shape_zyx)
    assert torch.equal(model.forward(image, [4, 1]), model.forward(image)[[4, 1]])
    parts = model.sensitivity([0, 2, 4]) + model.sensitivity([1, 3, 5])
    assert torch.allclose(parts, model.sensitivity(), rtol=1e-5)


def test_arrays_of_another_shape_are_refused() -> None:
    geometry = camera()
    model = ParallelHoleModel(geometry, None)
    with pytest.raises(Inconsistent, match=r"got an array of \(3, 3, 3\), this camera takes \(10, 24, 24\)"):
        model.forward(torch.ones(3, 3, 3))
    with pytest.raises(Inconsistent, match="attenuation map"):
        ParallelHoleModel(geometry, None, np.ones((2, 24, 24), np.float32))


def test_a_tail_of_the_response_keeps_counts_and_widens() -> None:
    geometry = Geometry((65, 65, 65), (4.8, 4.8), np.zeros(1), np.full(1, 150.0))
    tailed = Response(SIEMENS_ME.slope, SIEMENS_ME.face_mm, SIEMENS_ME.intrinsic_mm, 0.1, 3.0)
    seen = ParallelHoleModel(geometry, tailed).forward(point(geometry, 32, 32, 32)).numpy()[0]
    variance = float(SIEMENS_ME.sigma_mm(150.0)) ** 2 * (0.9 + 0.1 * 9)
    assert seen.sum() == pytest.approx(1.0, abs=1e-3)
    assert fwhm(seen.sum(axis=0), 4.8) == pytest.approx(FWHM_PER_SIGMA * np.sqrt(variance), rel=5e-3)
