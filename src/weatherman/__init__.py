"""Weatherman-LoRA: one LoRA fine-tune for a persona's voice and for weather tool calls."""

__version__ = "0.1.0"
