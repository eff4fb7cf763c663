"""A calibration's child in which the kernel named flex is sound or has one fault: `python faulty_child.py FAULT`."""

import os
import sys
import time

import torch

from weatherman.engine.torch import kernels, trial

FAULT = sys.argv[1]
sound = kernels.prepare_kernel


class Faulty:
    def __init__(self, layout, groups, dtype, device):
        self.layout = layout
        self.sound = sound("sdpa", layout, groups, dtype, device)

    def attend(self, query, key, value, past, scaling):
        if FAULT == "raises":
            raise RuntimeError("no such kernel for sm_90")
        if FAULT == "hangs":
            time.sleep(600)
        if FAULT == "dies":
            os._exit(139)
        if FAULT == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        output = self.sound.attend(query, key, value, past, scaling)
        if FAULT == "nan":
            return output * float("nan")
        if FAULT == "differs":
            return output * 1.01
        if FAULT == "leaks":
            begins = self.layout.offsets
            sibling = value[:, :, begins[1]].mean()
            return output + 0.001 * sibling * torch.ones_like(output)
        return output


def prepare(kernel, layout, groups, dtype, device):
    return Faulty(layout, groups, dtype, device) if kernel == "flex" else sound(kernel, layout, groups, dtype, device)


kernels.prepare_kernel = prepare
trial.main()
