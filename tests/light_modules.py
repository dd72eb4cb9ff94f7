"""LightningModules as strangers write them, right and wrong: a plug-in file of tests."""

import lightning
import torch
from torch import nn


class Light(lightning.LightningModule):
    def __init__(self, input_shape, num_classes, learning_rate=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.features = nn.Sequential(
            nn.Conv2d(input_shape[0], 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Dropout(0.1)
        )
        self.fc = nn.Linear(8 * 16, num_classes)

    def forward(self, x):
        return self.fc(self.features(x).flatten(1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.learning_rate)
        return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, [2])]


class ByStep(Light):
    def training_step(self, batch, batch_idx):
        return {"loss": super().training_step(batch, batch_idx)}

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Watching(Light):
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


class Manual(Light):
    def __init__(self, input_shape, num_classes):
        super().__init__(input_shape, num_classes)
        self.automatic_optimization = False


class Several(Light):
    def configure_optimizers(self):
        return [torch.optim.Adam(self.fc.parameters()), torch.optim.Adam(self.features.parameters())]


class Lossless(Light):
    def training_step(self, batch, batch_idx):
        return None


class WithTrainer(Light):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * len(self.trainer.datamodule)


class Planning(Light):
    """Asks its Trainer how far training goes, and changes by epoch and by step."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        steps = self.trainer.estimated_stepping_batches
        assert steps == self.trainer.max_epochs * self.trainer.num_training_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self):
        self.started = torch.rand(1)  # draws a number, after a kill once more

    def training_step(self, batch, batch_idx):
        assert self.global_step == self.current_epoch * self.trainer.num_training_batches + batch_idx
        return super().training_step(batch, batch_idx) * (2 if self.current_epoch == 1 else 1)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.fc.bias.mul_(0.99)


class EveryOther(Light):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return [optimizer], [{"scheduler": schedule, "frequency": 2}]


class WatchingAccuracy(Light):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=0, threshold=10.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "valid/acc"}}


class WatchingElse(Light):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_f1"}}


class OwnStep(Light):
    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)


class OwnSetup(Light):
    def setup(self, stage):
        self.extra = nn.Linear(2, 2)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["extra"] = 1


class Nothing(Light):
    def configure_optimizers(self):
        return None


class SecondOrder(Light):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters())
