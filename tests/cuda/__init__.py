"""What the docs promise, tried on a GPU: ``python -m pytest --noconftest tests/cuda``.

With JOINTRAIN_TEST_DEVICE=cpu the same tests run on the CPU, which shows that they are right
themselves. They need torch, numpy, pytest and what jointrain needs; --noconftest does without
hypothesis.
"""
