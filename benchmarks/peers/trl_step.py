"""TRL's GRPOTrainer takes a training step whenever it is asked: samples, rewards, one update of a LoRA adapter."""

import random
from time import perf_counter
from typing import Any

import torch
import transformers
import trl
from _line import Line
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class Reward:
    """Cheap, and not the same for all of a group; counts the tokens that it sees."""

    __name__ = "coin"

    def __init__(self) -> None:
        self.tokens = 0

    def __call__(self, completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        source = random.Random(0)
        self.tokens = sum(map(len, completion_ids))
        return [float(source.random() < 0.5) for _ in completions]


class OneAtATime(TrainerCallback):
    """Stands still between steps, and says how long each took."""

    def __init__(self, line: Line, reward: Reward) -> None:
        self._line = line
        self._reward = reward
        self._steps = 0
        self._began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._steps:
            self._line.wait()
        self._began = perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        taken = perf_counter() - self._began
        self._steps += 1
        if self._steps == 1:  # it is warm now
            version = f"trl {trl.__version__}, transformers {transformers.__version__}"
            self._line.say(ready={"version": version, "tokens": self._reward.tokens})
        else:
            self._line.say(seconds=taken)


def main() -> None:
    line = Line()
    work = line.work
    torch.set_num_threads(work["threads"])
    calls = work["tasks"] * work["group"]
    config = GRPOConfig(
        output_dir="out",
        use_cpu=work["device"] == "cpu",
        bf16=work["dtype"] == "bfloat16",
        model_init_kwargs={"dtype": work["dtype"]},
        per_device_train_batch_size=calls // work["parts"],
        gradient_accumulation_steps=work["parts"],
        num_generations=work["group"],
        max_completion_length=work["tokens"],
        temperature=1.0,
        learning_rate=work["learning_rate"],
        gradient_checkpointing=False,
        max_steps=10**6,
        save_strategy="no",
        report_to=[],
        logging_steps=1,
        disable_tqdm=True,
        shuffle_dataset=False,
        seed=0,
    )
    reward = Reward()
    trainer = GRPOTrainer(
        model=work["model"],
        args=config,
        reward_funcs=reward,
        train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in work["prompts"]]}),
        processing_class=AutoTokenizer.from_pretrained(work["model"]),
        peft_config=LoraConfig(
            r=work["rank"], lora_alpha=work["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[OneAtATime(line, reward)],
    )
    trainer.train()


if __name__ == "__main__":
    main()
