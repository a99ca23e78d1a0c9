"""Hugging Face's Trainer through the switch: it takes a process group that is there.

    torchrun --nproc-per-node 2 examples/transformers_train.py
    torchrun --nproc-per-node 2 examples/transformers_train.py intsgd:element_type=int8

So does Accelerate, which it is built on; `ddp_backend` they refuse on CPU but for gloo.
With an argument, DDP's gradients are averaged by that compressor.
"""

import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from train import BATCH, STEPS, batches, network
from transformers import Trainer, TrainerCallback, TrainingArguments

import intswitch


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, points: Tensor, labels: Tensor) -> dict[str, Tensor]:
        output = self.network(points)
        return {"loss": cross_entropy(output, labels), "logits": output}


class Compressed(TrainerCallback):
    def on_train_begin(self, *arguments: Any, **named: Any) -> None:
        self.hook = intswitch.register_hook(trainer.model_wrapped, sys.argv[1])

    def on_train_end(self, *arguments: Any, **named: Any) -> None:
        self.hook.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("intswitch")
    columns = map(torch.cat, zip(*batches(0, 2 * STEPS), strict=True))
    rows = [{"points": x, "labels": y} for x, y in zip(*columns, strict=True)]
    options = TrainingArguments(
        use_cpu=True, num_train_epochs=1, per_device_train_batch_size=BATCH,
        learning_rate=0.01, ddp_find_unused_parameters=False, report_to=[],
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    callbacks = [Compressed()] if sys.argv[1:] else []
    trainer = Trainer(Classifier(), options, train_dataset=rows, callbacks=callbacks)
    loss = trainer.train().training_loss
    print(f"rank {dist.get_rank()}: loss {loss:.2f} on average", flush=True)
    dist.destroy_process_group()
