"""Serve a GGUF by llama.cpp for a test: prints its address, ends when its standard input does.

Usage: llama_cpp_server.py MODEL [LORA]
"""

from __future__ import annotations

import sys

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
if len(sys.argv) > 2:
    lora = xllamacpp.CommonAdapterLoraInfo()
    lora.path, lora.scale = sys.argv[2], 1.0
    parameters.lora_adapters = [lora]
parameters.n_ctx, parameters.n_parallel, parameters.warmup, parameters.verbosity = 2048, 1, False, -1
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 2
# llama.cpp keeps keys and values in float16 by default, which alone can turn a greedy token.
parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
