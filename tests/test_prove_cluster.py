"""The same chunks on a Dask cluster: a worker killed in the middle, and the certificate of a local run."""

from __future__ import annotations

import builtins
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from xent_verify.auditing.audit import Settings
from xent_verify.core.failures import MissingExtraError, UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.ops import op_named
from xent_verify.prove import Plan, Sweep, domain_of
from xent_verify.verdict.policies import parse_policy

SLOW = """
import time
from xent_verify.implementations import find
def softmax(x, axis=-1):
    time.sleep(0.3 * (len(x) > 5000))
    return find("naive", "softmax").call(x, axis)
"""


def plan_of(target: str, *, isolated: bool) -> Plan:
    settings = Settings(parse_policy("standard"), isolated=isolated)
    return Plan(target, "softmax", domain_of(op_named("softmax"), FORMATS["float8_e4m3fn"], "pairs"), settings)


def test_without_distributed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """--cluster without Dask installed is wrong use, and the message says what to install."""
    original = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "distributed":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'xent-verify\[cluster\]'"):
        Sweep(plan_of("naive", isolated=True), cluster="tcp://127.0.0.1:1").run()


@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    """Two worker processes, one killed while it holds a chunk: the certificate is that of a local run."""
    distributed = pytest.importorskip("distributed")
    file = tmp_path / "slow.py"
    file.write_text(SLOW)
    target = f"{file}:softmax"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        nannies = list(cluster.workers.values())

        log = tmp_path / "run.log"

        def kill() -> None:
            limit = time.monotonic() + 30
            while (not log.exists() or b'"chunk":' not in log.read_bytes()) and time.monotonic() < limit:
                time.sleep(0.01)
            os.kill(nannies[0].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        made = Sweep(plan_of(target, isolated=True), cluster=cluster.scheduler_address, log=log).run()
        killer.join()
    assert made == Sweep(plan_of(target, isolated=False)).run()
    assert made["label"] == "proved"
    assert log.read_bytes().count(b'"chunk":') == 4


@pytest.mark.filterwarnings("ignore")
def test_an_address_where_nobody_answers_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the address."""
    pytest.importorskip("distributed")
    monkeypatch.setattr("xent_verify.prove.cluster._CONNECT_SECONDS", 0.3)
    with pytest.raises(UsageError, match="no Dask scheduler answers"):
        Sweep(plan_of("naive", isolated=True), cluster="tcp://127.0.0.1:1").run()
