"""The acceptance metric: balanced accuracy, so that calling everything normal is worth a half and no more."""


def predict(model, values):
    score = model["bias"] + sum(w * v / 100 for w, v in zip(model["weights"], values, strict=True))
    return "fault" if score > 0 else "normal"


def balanced_accuracy(pairs):
    """`pairs` of (predicted, true). The mean of how many faults, and how many normal rows, were told."""
    shares = []
    for label in ("fault", "normal"):
        hits = [predicted == true for predicted, true in pairs if true == label]
        shares.append(sum(hits) / len(hits))
    return sum(shares) / len(shares)
