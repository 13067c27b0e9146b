"""Megatron's loss of a vocabulary that one rank holds alone."""

import torch
from megatron.core import parallel_state, tensor_parallel

torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
parallel_state.initialize_model_parallel()


def cross_entropy(logits, target):
    return tensor_parallel.vocab_parallel_cross_entropy(logits[:, None], target[:, None])[:, 0]
