# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # A first look at recorded results
#
# `notebook.ipynb` and the plain script `notebook.py`, which VS Code and PyCharm show as a notebook, are the same. Name a database
# of yours, or look at that of the clone: the reference results of the default matrix, as long as you have run nothing there.

# %%
from pathlib import Path

import benchmark

db = "results.sqlite" if Path("results.sqlite").exists() else "../results.sqlite"
report = benchmark.report(db)
report  # as `bench report` writes it

# %% [markdown]
# Every table of the report is a DataFrame.

# %%
summary = report["summary"]
columns = ["dataset", "model", "strategy", "n", "test_accuracy_mean", "test_accuracy_half_width"]
summary[columns].sort_values("test_accuracy_mean", ascending=False)

# %% [markdown]
# ## Is one strategy better than the other?
#
# Ask for a verdict, do not read it off two means: pairs of seeds, corrected for the number of comparisons.

# %%
comparison = benchmark.compare("strategy=scratch", "strategy=regularized", db)
print(comparison.attrs["verdict"])
comparison[["metric", "a_cells", "b_cells", "difference", "low", "high", "adjusted_p", "verdict"]]

# %% [markdown]
# ## The rows themselves
#
# One row for each execution. `group` is the row of the report that it is part of: what may be averaged.

# %%
results = benchmark.results(db, machine=report.machine, groups=True)
results.groupby("group", observed=True)["test_accuracy"].agg(["mean", "std", "count"])

# %%
history = benchmark.history(db, select="dataset=digits", machine=report.machine, latest=True)
last = history.sort_values("epoch").groupby("execution_id").tail(1)
(last["train_accuracy"] - last["val_accuracy"]).describe()  # how much better on what it was trained on

# %% [markdown]
# Which digits are taken for which, over all seeds of one model?

# %%
asked = "dataset=digits,model=simple_cnn,strategy=scratch"
predictions = benchmark.predictions(db, select=asked, machine=report.machine, latest=True, class_names=True)
tested = predictions[predictions["split"] == "test"]
tested.pivot_table(
    index="label_name", columns="predicted_name", values="image", aggfunc="count", fill_value=0, observed=True
)

# %% [markdown]
# ## Figures
#
# Each function draws on axes of yours, or on new ones, and returns them.

# %%
from matplotlib import pyplot as plt  # noqa: E402

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
benchmark.learning_curves(db, select="dataset=digits,model=resnet18", axes=left).set_title("resnet18 on digits")
benchmark.accuracy_by_time(db, select="dataset=digits", axes=right).set_title("digits")
