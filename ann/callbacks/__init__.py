"""What else happens while a model trains: fit(…, callbacks=[…])."""

from ann.callbacks.callback import Callback, History, LambdaCallback, LearningRateScheduler, TerminateOnNaN
from ann.callbacks.monitors import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from ann.callbacks.resume import BackupAndRestore
from ann.callbacks.writers import CSVLogger, TensorBoard

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
