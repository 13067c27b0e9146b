"""The same chunks on a Dask cluster (the extra ``cluster``; the one module that imports ``distributed``).

Workers need this package and the target installed. A worker that dies takes its chunk with it, and the scheduler gives
it to another; a result counts once, since the parent writes it down by the number of its chunk.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from xent_verify.core.failures import AuditIncompleteError, MissingExtraError, UsageError
from xent_verify.prove.local import Done, chunk_of
from xent_verify.prove.plan import Plan

__all__ = ["on_cluster"]

_CONNECT_SECONDS = 20
_RETRIES = 3
_AHEAD = 4


def on_cluster(plan: Plan, chunks: Iterable[int], address: str) -> Generator[Done, None, None]:
    """Every chunk, in order of completion; ``UsageError`` when nobody answers at ``address``."""
    try:
        import distributed
    except ImportError:
        raise MissingExtraError("distributed", "cluster", "prove --cluster") from None
    if not isinstance(plan.target, str):
        raise UsageError("prove --cluster: the target must be a name that workers can import")
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(f"--cluster {address}: no Dask scheduler answers ({type(error).__name__})") from None
    key = plan.key
    try:
        threads = sum(client.nthreads().values())
        if not threads:
            raise AuditIncompleteError(f"--cluster {address}: the scheduler has no workers")
        waiting = iter(chunks)

        def submitted(chunk: int) -> distributed.Future:
            return client.submit(chunk_of, plan, key, chunk, key=f"prove-{key}-{chunk}", retries=_RETRIES)

        first = [submitted(chunk) for _, chunk in zip(range(_AHEAD * threads), waiting, strict=False)]
        running = distributed.as_completed(first, loop=client.loop)
        for future in running:
            try:
                done: Done = future.result()
            except distributed.KilledWorker as error:
                raise AuditIncompleteError(f"prove: a chunk ended every worker that took it ({error})") from None
            future.release()
            for chunk in waiting:
                running.add(submitted(chunk))
                break
            yield done
    finally:
        client.close()
