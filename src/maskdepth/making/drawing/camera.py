"""A pinhole camera over level ground: rows of its picture, metres, and relative depth."""

from dataclasses import dataclass

import numpy as np

from maskdepth.making.drawing.textures import FloatArray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera and its fixed mapping from metres to relative depth.

    Attributes:
        height: Above the ground [m].
        pitch: How far it looks down [rad].
        focal: Focal length, in picture heights.
    """

    height: float
    pitch: float
    focal: float

    def up(self, row: FloatArray) -> FloatArray:
        """Slope of the rays of a row against the optical axis; rows run from 0 (top edge) to 1 (bottom edge)."""
        return (0.5 - row) / self.focal

    def ground_depth(self, row: FloatArray) -> FloatArray:
        """Depth of the ground [m] along each row; infinite at and above the horizon."""
        fall = np.sin(self.pitch) - self.up(row) * np.cos(self.pitch)
        return np.asarray(np.where(fall > 1e-6, self.height / np.maximum(fall, 1e-6), np.inf))

    def relative_depth(self, metres: FloatArray) -> FloatArray:
        """Map depth [m] to [0, 1], 0 near, 1 far: 1 - near / depth.

        `near` is 0.9 of the depth of the ground at the bottom edge of the picture. It belongs to the camera, not to
        what is seen, so adding an object leaves the rest as it was; and as it grows with the camera's height, the depth
        of the ground follows from its row and the horizon alone: a picture, which has no metres, is enough to tell it.
        """
        near = 0.9 * self.ground_depth(np.ones(()))
        return np.clip(1 - near / np.maximum(metres, 1e-6), 0, 1)

    def ground_distance(self, row: FloatArray) -> FloatArray:
        """How far along the ground [m] the point of it lies that is seen in each row."""
        return np.asarray(self.ground_depth(row) * (np.cos(self.pitch) + self.up(row) * np.sin(self.pitch)))

    def top_row(self, foot_row: FloatArray, height: float) -> FloatArray:
        """Row of the top of something upright, `height` [m] tall, whose foot is seen in `foot_row`."""
        distance, rise = self.ground_distance(foot_row), height - self.height
        ahead = distance * np.cos(self.pitch) - rise * np.sin(self.pitch)
        slope = (rise * np.cos(self.pitch) + distance * np.sin(self.pitch)) / ahead
        return np.asarray(0.5 - slope * self.focal)

    def upright_depth(self, foot_row: float, row: FloatArray) -> FloatArray:
        """Depth [m] in each row of an upright plane, facing the camera, whose foot is seen in `foot_row`."""
        distance = self.ground_distance(np.asarray(foot_row))
        return np.asarray(distance / (np.cos(self.pitch) + self.up(row) * np.sin(self.pitch)))
