"""The fast convolution against the slow one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.dose.convolution import convolve_symmetric, fraction_inside, padded_lengths

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7))


def direct(source: np.ndarray, octant: np.ndarray) -> np.ndarray:
    """Sum over all pairs of voxels."""
    result = np.zeros(source.shape)
    reach = np.array(octant.shape)
    for s in np.ndindex(*source.shape):
        for t in np.ndindex(*source.shape):
            offset = np.abs(np.subtract(t, s))
            if (offset < reach).all():
                result[t] += source[s] * octant[tuple(offset)]
    return result


@settings(max_examples=25, deadline=None)
@given(shape=SIZES, kernel=SIZES, seed=st.integers(0, 9))
def test_it_equals_direct_summation_for_any_shapes(shape, kernel, seed):
    rng = np.random.default_rng(seed)
    source, octant = rng.random(shape), rng.random(kernel)
    slow = direct(source, octant)
    assert np.abs(convolve_symmetric(source, octant) - slow).max() <= 1e-12 * slow.max()
    single = convolve_symmetric(source, octant, dtype=np.float32)
    assert single.dtype == np.float32
    assert np.abs(single - slow).max() <= 1e-5 * slow.max()


@settings(max_examples=15, deadline=None)
@given(shape=SIZES, kernel=SIZES, seed=st.integers(0, 9))
def test_the_sum_inside_is_that_of_the_convolution(shape, kernel, seed):
    rng = np.random.default_rng(seed)
    source, octant = rng.random(shape), rng.random(kernel)
    inside = (source * fraction_inside(octant, shape)).sum()
    assert inside == pytest.approx(direct(source, octant).sum(), rel=1e-12)


def test_threads_change_no_bit():
    rng = np.random.default_rng(1)
    source, octant = rng.random((20, 30, 25)), rng.random((20, 30, 25))
    one, two = (convolve_symmetric(source, octant, workers=w) for w in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_padding_is_no_more_than_needed():
    assert padded_lengths((128, 128, 128), (128, 128, 128)) == (256, 256, 256)  # 255 is needed
    assert padded_lengths((128, 128, 128), (10, 128, 1)) == (144, 256, 128)  # 137; next even fast length
