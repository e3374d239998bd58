"""Names of the stages: their purpose, and the stages that run before them.

Nothing slow is imported here, since help reads it; `pipeline.py` has the functions.
"""

STAGE_HELP = {
    "download": "get the files, from Kaggle, a zip, a folder or the sample",
    "prepare": "read labels, find near-duplicates, make folds, cache pixels",
    "augment": "draw augmented training images (not part of stage=all)",
    "train": "fit every fold; out-of-fold and test predictions, the score",
    "ensemble": "blend runs; by default the run just trained",
    "submit": "write and check the CSV; submit.upload=true sends it to Kaggle",
}
STAGES_BEFORE = {
    "download": (),
    "prepare": ("download",),
    "augment": ("download", "prepare"),
    "train": ("download", "prepare"),
    "ensemble": ("download", "prepare", "train"),
    "submit": ("download", "prepare", "train", "ensemble"),
    "columns": ("download", "prepare", "train"),  # a tool
    "drill": ("download",),  # a tool
    "describe": ("download",),  # a tool
}
