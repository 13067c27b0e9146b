"""The package's own implementations: naive, stable and faulty, in pure NumPy, with the contract's signatures."""

from xent_verify.implementations.catalogue import IMPLEMENTATIONS, find, implementations
from xent_verify.implementations.entries import Fault, Implementation
from xent_verify.implementations.faulty import ZOO

__all__ = ["IMPLEMENTATIONS", "ZOO", "Fault", "Implementation", "find", "implementations"]
