"""vLLM samples the given prompts, so many tokens each, with the log-probability of each token."""

import os
from time import perf_counter

from _line import Line


def main() -> None:
    line = Line()
    work = line.work
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if work["device"] == "cpu":
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = "2"
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # as many as OMP_NUM_THREADS says, on any core, like ours
    from vllm import LLM, SamplingParams, __version__

    longest = max(map(len, work["prompts"])) + work["tokens"]
    llm = LLM(
        model=work["model"],
        skip_tokenizer_init=True,
        dtype=work["dtype"],
        max_model_len=longest + 16,
        max_num_seqs=len(work["prompts"]),
        enable_prefix_caching=True,
    )
    params = SamplingParams(
        temperature=1.0, max_tokens=work["tokens"], ignore_eos=True, logprobs=0, detokenize=False, seed=None
    )
    prompts = [{"prompt_token_ids": ids} for ids in work["prompts"]]

    def sample() -> tuple[float, int]:
        llm.reset_prefix_cache()  # the prompts of a training step are new
        began = perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        taken = perf_counter() - began
        given = [output.outputs[0] for output in outputs]
        assert all(len(one.logprobs) == len(one.token_ids) for one in given)
        return taken, sum(len(one.token_ids) for one in given)

    _, tokens = sample()
    line.say(ready={"version": f"vllm {__version__}", "tokens": tokens})
    while True:
        line.wait()
        taken, _ = sample()
        line.say(seconds=taken)


if __name__ == "__main__":
    main()
