"""The samplers that a recipe can name; `counterpoint.samplers.base` says how to write another."""

from typing import Any

from counterpoint.family import Family

SAMPLERS: Family[Any] = Family(
    "sampler",
    {"in_process": "counterpoint.samplers.in_process:in_process", "vllm": "counterpoint.samplers.vllm:Vllm"},
)
