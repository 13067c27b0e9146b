"""The losses against certified truth, where the other tests live."""

import pytest
import tiny_losses

pytestmark = pytest.mark.xent(dtypes=["float32"])


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "cross_entropy"])
def test_accurate(xent_audit, op):
    """No finding on any row that an operation of this name can meet."""
    xent_audit(getattr(tiny_losses, op), op=op)
