"""Frames of several captures: one number that tells the capture and the frame."""

from __future__ import annotations

__all__ = ["FILE_SHIFT", "FRAME_MASK"]

FILE_SHIFT = 40
"""Where there are several captures, a frame is known by its capture's number, from 0, and above that by this many bits
of its own number."""
FRAME_MASK = (1 << FILE_SHIFT) - 1
