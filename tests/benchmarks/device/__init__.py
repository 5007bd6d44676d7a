"""How fast this engine trains and scores on a GPU, against what, and whether its numbers stay the same.

    python -m tests.benchmarks.device             # one GPU, HuBERT-base with random weights, at most 4 minutes
    python -m tests.benchmarks.device --small     # a CPU, a tiny encoder: that it runs; its figures mean nothing

Everything that touches the device happens in processes of their own (`crew`), so that a part that crashes or hangs
costs its own line alone. Needs torch, transformers, pyarrow and small wheels; Ray with --end-to-end only. What each
section measures, and which of it is known: docs/performance.md.

Not covered: several GPUs, real weights and real speech (clips are noise of 3 to 6 s), other encoders than HuBERT-base.
"""
