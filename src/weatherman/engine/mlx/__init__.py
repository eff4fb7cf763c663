"""The engine on MLX: Apple Silicon's Metal, and any CPU for its tests; model classes and quantised layers from mlx-lm.

In: step plans and rendered examples. Out: the same losses, adapters and tokens as torch's. The only room that imports
MLX.
"""
