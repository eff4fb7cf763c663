"""Measurements of one training step: ours against TRL and a plain loop, on this machine's CPU and on a CUDA GPU."""
