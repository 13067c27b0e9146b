"""PyTorch's own functions, compiled by TorchInductor."""

import torch

softmax = torch.compile(torch.softmax, dynamic=True)
log_softmax = torch.compile(torch.log_softmax, dynamic=True)
cross_entropy = torch.compile(torch.nn.functional.cross_entropy, dynamic=True)
