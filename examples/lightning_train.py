"""PyTorch Lightning through the switch: its DDP, told the name of the backend.

    torchrun --nproc-per-node 2 examples/lightning_train.py
    torchrun --nproc-per-node 2 examples/lightning_train.py intsgd:element_type=int8

The first needs nothing from intswitch; the second gives the gradients to a compressor,
by a callback: Lightning takes `ddp_comm_hook` for CUDA alone.
"""

import os
import sys

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from train import BATCH, LEARNING_RATE, STEPS, batches, network

import intswitch


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def training_step(self, batch: tuple[Tensor, Tensor], step: int) -> Tensor:
        output = self.network(batch[0])
        right = (output.argmax(1) == batch[1]).float().mean()
        self.log("right", right, sync_dist=True)
        return cross_entropy(output, batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), LEARNING_RATE, momentum=0.9)


class Compressed(lightning.Callback):
    def on_train_start(self, trainer: lightning.Trainer, module: Classifier) -> None:
        self.hook = intswitch.register_hook(trainer.strategy.model, sys.argv[1])

    def on_train_end(self, trainer: lightning.Trainer, module: Classifier) -> None:
        self.hook.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=int(os.environ["LOCAL_WORLD_SIZE"]), max_epochs=1,
        strategy=DDPStrategy(process_group_backend="intswitch"),
        callbacks=[Compressed()] if sys.argv[1:] else [],
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    points = TensorDataset(*map(torch.cat, zip(*batches(0, 2 * STEPS), strict=True)))
    trainer.fit(Classifier(), DataLoader(points, BATCH, shuffle=True))
    if trainer.is_global_zero:
        print(f"{100 * trainer.callback_metrics['right']:.0f} % right", flush=True)
