"""Processes that wait for work."""

from jointrain.system.worker_processes import give_back, submit
from tests.system._large_module import Job


def test_what_a_job_imports_is_no_growth_of_its_process():
    pool, first = submit(Job(), new=True)
    numbers = [first.result(timeout=60)]
    for _ in range(2):
        give_back(pool)
        pool, again = submit(Job())
        numbers.append(again.result(timeout=60))
    pool.shutdown(kill_workers=True)
    assert len({*numbers}) == 1
