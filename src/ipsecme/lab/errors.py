"""What goes wrong in a lab: the machine lacks something, or a step did not happen."""

from __future__ import annotations

from ipsecme.base import IpsecmeError, SystemRefused

__all__ = ["LabUnavailable", "StepFailed"]


class LabUnavailable(SystemRefused):
    """The machine lacks something that the lab needs; the message says what to allow."""


class StepFailed(IpsecmeError):
    """Something that must happen in the lab did not; the message says what, with logs."""
