"""The engine on PyTorch: CPU, CUDA and MPS; attention kernels, LoRA, the step over the prefix tree.

In: what `engine.base.Engine` says. Out: the same; besides merged weights and GGUF for the export, and a talker for the
chat. Imports are absolute: `torch` is always the library.
"""
