"""The targets of the conformance check for PyTorch, and others whose style of calling is to be found."""

import torch
from torch import nn


def copy(x):
    return x.clone()


def softmax(x, dim=-1):
    return torch.softmax(x.to(torch.float64), dim).to(x.dtype)


def write(x):
    x += 1
    return x.clone()


def refuse(x):
    raise ValueError("refused")


def converts(x):
    """Takes anything, answers in tensors."""
    return torch.softmax(torch.as_tensor(x), -1)


def losses(logits, target, weight=None, reduction="mean"):
    return nn.functional.cross_entropy(logits, target, weight=weight, reduction=reduction)


def mean_loss(logits, target):
    return nn.functional.cross_entropy(logits, target)


def changes_default_dtype(x):
    torch.set_default_dtype(torch.float64)
    return torch.softmax(x, -1)


layer = nn.Softmax(dim=-1)
