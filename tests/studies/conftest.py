"""Fixtures of the tests of studies and searches."""

import time

import pytest

from jointrain.studies import _budget, _measurements
from jointrain.studies.searches import _affinity, _evaluator


@pytest.fixture
def here(monkeypatch):
    """Run jobs in this process, one after the other, until the time is over."""

    def run_here(jobs, *, workers=None, store=None, until=None, executor=None):
        waiting = {job.key: job for job in jobs}
        if store is not None:
            for key, value in store.finished(waiting).items():
                del waiting[key]
                yield key, value
        for key, job in waiting.items():
            if until is not None and time.monotonic() >= until:
                return
            result = job.run()
            if store is not None:
                with store.session():
                    store.claim([key])
                    store.finish(key, result)
            yield key, result

    for module in (_measurements, _affinity):
        monkeypatch.setattr(module, "run_jobs", run_here)
    for module in (_budget, _evaluator):
        monkeypatch.setattr(module, "warm_up", lambda count, imports: None)
