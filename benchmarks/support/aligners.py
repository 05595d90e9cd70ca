"""What else registers two pictures: kornia, scikit-image and OpenCV, each in one call as its documentation has it.

All take background and composite (H, W, 3) uint8 and give the matrix from a pixel of the composite to that of the
background, (2, 3) or (3, 3) [px], or None where they give up. OpenCV is no dependency: its rows are left out where it
is not installed.
"""

# mypy: allow-untyped-calls, no-warn-return-any

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

Aligner = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float64] | None]


def phase_correlation(background: NDArray[np.uint8], composite: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """scikit-image, a shift alone."""
    from skimage.registration import phase_cross_correlation

    shift = phase_cross_correlation(_grey(composite), _grey(background), upsample_factor=50)[0]
    return np.array([[1, 0, -shift[1]], [0, 1, -shift[0]]])


def optical_flow(background: NDArray[np.uint8], composite: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """scikit-image, iterative Lucas-Kanade in windows; the affine that most of its flow agrees on."""
    from skimage.registration import optical_flow_ilk

    down, right = optical_flow_ilk(_grey(composite), _grey(background), radius=7)
    y, x = np.mgrid[: down.shape[0], : down.shape[1]]
    places = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)
    wanted = np.stack([(x + right).ravel(), (y + down).ravel()], 1)
    weights = np.ones(x.size)
    for _ in range(10):  # the flow is wild on the object and where nothing is to be seen
        found = np.linalg.lstsq(places * weights[:, None], wanted * weights[:, None], rcond=None)[0]
        weights = 1 / (1 + np.square(wanted - places @ found).sum(1))
    return np.asarray(found.T)


def kornia_similarity(background: NDArray[np.uint8], composite: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """kornia's ImageRegistrator: Adam on the L1 difference over a pyramid; a similarity."""
    import torch
    from kornia.geometry import ImageRegistrator

    source, target = (torch.from_numpy(_grey(picture)).float()[None, None] for picture in (background, composite))
    found = ImageRegistrator("similarity").register(source, target)
    assert isinstance(found, torch.Tensor)
    return _from_unit_square(found.detach().numpy()[0].astype(float), *composite.shape[:2])


def opencv_ecc(background: NDArray[np.uint8], composite: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """OpenCV's findTransformECC, affine."""
    import cv2

    cv2.setNumThreads(1)
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (composite, background)]
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    try:
        found: Any = cv2.findTransformECC(
            *greys, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, ends, inputMask=None, gaussFiltSize=5
        )[1]
    except cv2.error:
        return None
    return np.asarray(found, float)


def opencv_orb(background: NDArray[np.uint8], composite: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """OpenCV's ORB, the better half of the matches, a homography by RANSAC: as BackgroundMattingV2 aligns."""
    import cv2

    cv2.setNumThreads(1)
    orb = cv2.ORB_create(5000)
    (points, found), (others, wanted) = (
        orb.detectAndCompute(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None) for picture in (composite, background)
    )
    if found is None or wanted is None:
        return None
    matches = sorted(cv2.BFMatcher(cv2.NORM_HAMMING).match(found, wanted), key=lambda match: match.distance)
    matches = matches[: max(4, len(matches) // 2)]
    if len(matches) < 4:
        return None
    pairs = ((points[match.queryIdx].pt, others[match.trainIdx].pt) for match in matches)
    ours, theirs = (np.array(side, np.float32) for side in zip(*pairs, strict=True))
    matrix, _ = cv2.findHomography(ours, theirs, cv2.RANSAC)
    return None if matrix is None else np.asarray(matrix, float)


ALIGNERS: dict[str, Aligner] = {
    "skimage phase correlation": phase_correlation,
    "skimage flow ILK, affine of it": optical_flow,
    "kornia ImageRegistrator, similarity": kornia_similarity,
} | ({"OpenCV ECC, affine": opencv_ecc, "OpenCV ORB, homography": opencv_orb} if find_spec("cv2") else {})


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return picture.mean(2, dtype=np.float32) / 255


def _from_unit_square(matrix: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """From coordinates in which the corner pixels' middles are -1 and 1, as kornia has them, to pixels."""
    to_unit = np.array([[2 / (width - 1), 0, -1], [0, 2 / (height - 1), -1], [0, 0, 1]])
    return np.linalg.inv(to_unit) @ matrix @ to_unit
