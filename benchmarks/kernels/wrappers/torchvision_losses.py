"""torchvision's losses, which are Python, without its operators: those of the wheel ask for CUDA."""

import sys
from types import ModuleType

sys.modules["torchvision._meta_registrations"] = ModuleType("operators that are not there")

import torchvision  # noqa: E402  after what it would load

sigmoid_focal_loss = torchvision.ops.sigmoid_focal_loss
