"""Files that are right, and files that are wrong: for nnbench as for the published schemas."""

TOY = 'dataset = "toy"\nhidden = [4]\n'
GOOD_WORKLOADS = {
    "least": TOY,
    "no hidden layer": 'dataset = "toy"\nhidden = []\n',
    "full batch": TOY + 'batch_size = "full"\n',
    "whole number for a number": TOY + "l2 = 0\ntarget_accuracy = 1\n",
    "bounds": TOY + "l2 = 0.0\nvalidation = 0\nepochs = 1\nbatch_size = 1_000_000_000_000_000\n",
    "optimizer": TOY + '[optimizer]\nkind = "sgd"\nlearning_rate = 1e-4\nbeta1 = 0.0\n',
    "inline": TOY + 'optimizer = { kind = "adam", learning_rate = 2 }\n',
    "dotted": TOY + 'optimizer.kind = "adam"\noptimizer.learning_rate = 2\n',
}
KEYS = (
    "name, summary, dataset, hidden, activation, loss, bias, l2, optimizer, batch_size, epochs, "
    "target_accuracy, validation, shuffle, initial"
)
COUNT = "a whole number from 1 up to 1,000,000,000,000,000"
BAD_WORKLOADS = {  # what is wrong: file, line, message
    "unknown key": (TOY + "epoch = 3", 3, f"unknown key 'epoch'; known: {KEYS}"),
    "unknown key in a table": (
        TOY + '[optimizer]\nkind = "sgd"\nrate = 1',
        5,
        "unknown key 'rate' in [optimizer]; known: kind, learning_rate, beta1, beta2, epsilon",
    ),
    "effort of a run": (TOY + "quick = true", 3, f"unknown key 'quick'; known: {KEYS}"),
    "unknown table": (TOY + "[optimiser]", 3, f"unknown key 'optimiser'; known: {KEYS}"),
    "missing": ("epochs = 3", None, "missing: dataset, hidden"),
    "nothing": ("", None, "missing: dataset, hidden"),
    "missing in a table": (
        TOY + "\n[optimizer]\nlearning_rate = 3",
        4,
        "missing in [optimizer]: kind",
    ),
    "wrong type": (TOY + 'epochs = "3"', 3, f'epochs must be {COUNT}, not "3"'),
    "truth for a number": (TOY + "epochs = true", 3, f"epochs must be {COUNT}, not true"),
    "number for truth": (TOY + "bias = 1", 3, "bias must be true or false, not 1"),
    "fraction": (TOY + "epochs = 1.5", 3, f"epochs must be {COUNT}, not 1.5"),
    "date": (TOY + "epochs = 2026-01-02", 3, f'epochs must be {COUNT}, not "2026-01-02"'),
    "too small": (TOY + "epochs = 0", 3, f"epochs must be {COUNT}, not 0"),
    "too large": (
        TOY + "epochs = 1_000_000_000_000_001",
        3,
        f"epochs must be {COUNT}, not 1000000000000001",
    ),
    "far too large": (TOY + f"epochs = {2**70}", 3, f"epochs must be {COUNT}, not {2**70}"),
    "far beyond float32": (
        TOY + "l2 = 1e10",
        3,
        "l2 must be a number from 0 up to 1,000,000,000.0, not 10000000000.0",
    ),
    "percent": (
        TOY + "target_accuracy = 96.1",
        3,
        "target_accuracy must be a number above 0 up to 1, not 96.1",
    ),
    "bound itself": (
        TOY + 'optimizer = { kind = "adam", learning_rate = 1, beta2 = 1.0 }',
        3,
        "optimizer.beta2 must be a number from 0 below 1, not 1.0",
    ),
    "choice": (
        TOY + 'activation = "tanh"',
        3,
        'activation must be "relu" or "sigmoid", not "tanh"',
    ),
    "other word": (
        TOY + 'batch_size = "all"',
        3,
        f'batch_size must be {COUNT} or "full", not "all"',
    ),
    "item": (
        'dataset = "toy"\nhidden = [\n  4,\n  0,\n]',
        4,
        f"hidden[1] must be {COUNT}, not 0",
    ),
    "no list": (
        'dataset = "toy"\nhidden = 4',
        2,
        f"hidden must be a list, each {COUNT}, not 4",
    ),
    "no table": (TOY + 'optimizer = "adam"', 3, 'optimizer must be a table, not "adam"'),
    "list of tables": (
        TOY + "[[optimizer]]\nkind = 'sgd'",
        3,
        'optimizer must be a table, not [{"kind": "sgd"}]',
    ),
    "table for a word": (
        TOY + "[loss]",
        3,
        'loss must be "cross_entropy" or "squared_error", not {}',
    ),
    "long key": (
        TOY + "x" * 100_000 + " = 1",
        3,
        f"unknown key '{'x' * 60}…'; known: {KEYS}",
    ),
    "long word": (
        TOY + f'loss = "{"x" * 100_000}"',
        3,
        f'loss must be "cross_entropy" or "squared_error", not "{"x" * 59}…',
    ),
    "empty name": (
        TOY + 'name = ""',
        3,
        'name must be a string of 1 or more characters (at most 4,096), not ""',
    ),
}
NOT_FINITE = {
    "inf": (TOY + "l2 = inf", 3, "l2 must be finite, not inf"),
    "minus inf": (TOY + "l2 = -inf", 3, "l2 must be finite, not -inf"),
    "beyond floats": (TOY + "l2 = 1e400", 3, "l2 must be finite, not inf"),
    "whole number beyond floats": (TOY + "l2 = 1" + "0" * 400, 3, "l2 must be finite, not 1000"),
    "beyond what Python writes": (
        TOY + "epochs = 0x" + "f" * 5000,
        3,
        "epochs must be finite, not a number of thousands of digits",
    ),
    "the same in a list": (
        TOY + "epochs = [0x" + "f" * 5000 + "]",
        3,
        f"epochs must be {COUNT}, not a number of thousands of digits",
    ),
    "nan": (
        TOY + "optimizer.learning_rate = nan",
        3,
        "optimizer.learning_rate must be finite, not nan",
    ),
}
DEEP = "invalid TOML: keys and brackets are more than 32 deep in one another"
NO_TOML = {
    "syntax": (TOY + "epochs == 3", 3, "invalid TOML: Invalid value"),
    "no value": (TOY + "epochs =\nbias = true", 3, "invalid TOML: Invalid value"),
    "duplicate": (TOY + "hidden = [5]", 3, "invalid TOML: this key has a value already"),
    "duplicate table": (
        TOY + "[optimizer]\n[optimizer]",
        4,
        "invalid TOML: Cannot declare ('optimizer',) twice",
    ),
    "end": (TOY + "name = '''", 3, "invalid TOML: Expected \"'''\""),
    "control character": (TOY + 'name = "\x00"', 3, "invalid TOML: Illegal character '\\x00'"),
    "carriage return": (TOY + "epochs = 1\rbias = true", 3, "invalid TOML: Expected newline"),
    "no date": (TOY + "epochs = 2026-02-30", 3, "invalid TOML: Invalid date or datetime"),
    "digits": (
        TOY + "epochs = " + "9" * 5000,
        None,
        "invalid TOML: a number has thousands of digits",
    ),
    "brackets too deep": ("a = " + "[" * 10_000, 1, DEEP),
    "braces too deep": (TOY + "a = " + "{a=" * 10_000, 3, DEEP),
    "key too deep": (TOY + "a." * 5000 + "a = 1", 3, DEEP),
    "key far too deep": (TOY + "optimizer." + "a." * 100_000 + "a = 1", 3, DEEP),
    "table too deep": (TOY + "[" + "a." * 5000 + "a]", 3, DEEP),
}
GOOD_RUNS = {
    "nothing": "",
    "a name": 'workload = "mnist-wide"\nbackends = "numpy,python"\n',
    "inline": "seed = 3\n[workload]\n" + TOY,
    "everything": """
backends = ["numpy", "torch-cpu[threads=2]"]
workload = "mnist"
dataset = "mnist"
epochs = 2
batch_size = 32
hidden = [128, 64]
activation = "sigmoid"
optimizer = "adam-fresh"
learning_rate = 1e-4
target_accuracy = 0.9
rounds = 4
seed = 0
threads = 2
budget = 7.5
timeout = 60
baseline = "numpy"
roofline = true
output = "out"
effort = "quick"
progress = false
""",
}
BAD_RUNS = {
    "unknown key in the workload": (
        'seed = 1\n\n[workload]\ndataset = "toy"\nhidden = [4]\n\nepoch = 5\n',
        7,
        f"unknown key 'epoch' in [workload]; known: {KEYS}",
    ),
    "effort as a flag": (
        "rounds = 1\nquick = true\n",
        2,
        "unknown key 'quick'; write effort = \"quick\"; known: backends, ",
    ),
    "unknown key of a run": ("quik = true\n", 1, "unknown key 'quik'; known: backends, "),
    "deep": (
        '[workload]\ndataset = "toy"\nhidden = [4]\n[workload.optimizer]\nkind = "adamw"\n',
        5,
        'workload.optimizer.kind must be "adam" or "adam-fresh" or "sgd", not "adamw"',
    ),
    "deep unknown": (
        '[workload]\ndataset = "toy"\nhidden = [4]\noptimizer.momentum = 1\n',
        4,
        (
            "unknown key 'momentum' in [workload.optimizer]; "
            "known: kind, learning_rate, beta1, beta2, epsilon"
        ),
    ),
    "neither name nor table": (
        "workload = 3",
        1,
        "workload must be a string of 1 or more characters (at most 4,096) or a table, not 3",
    ),
    "no backend": (
        "backends = []",
        1,
        (
            "backends must be a string of 1 or more characters (at most 4,096) or a list of 1 or more items, "
            "each a string of 1 or more characters (at most 4,096), not []"
        ),
    ),
    "effort": ('effort = "lazy"', 1, 'effort must be "quick" or "rigorous", not "lazy"'),
    "full batch of an override": (
        'batch_size = "full"',
        1,
        f'batch_size must be {COUNT}, not "full"',
    ),
    "negative": (
        "# a run\nseed = -1",
        2,
        "seed must be a whole number from 0 up to 4,294,967,295, not -1",
    ),
    "no time": ("budget = 0", 1, "budget must be a number above 0 up to 1,000,000,000, not 0"),
}
BAD_NAMES = {  # what no schema can know
    "workload": (
        'seed = 1\nworkload = "mnits"',
        2,
        "no workload named 'mnits'; did you mean mnist? ",
    ),
    "dataset": ('dataset = "tou"', 1, "no dataset or folder named 'tou'; did you mean toy? "),
    "dataset of the workload": (
        '[workload]\nhidden = []\ndataset = "no/folder"',
        3,
        "no dataset or folder named 'no/folder'; known: ",
    ),
    "output with NUL": (
        'seed = 1\noutput = "a\\u0000b"',
        2,
        "a path cannot hold the character NUL",
    ),
    "workload with NUL": (
        'workload = "a\\u0000.toml"',
        1,
        "a path cannot hold the character NUL",
    ),
    "dataset with NUL": (
        '[workload]\nhidden = []\ndataset = "/\\u0000"',
        3,
        "a path cannot hold the character NUL",
    ),
    "change of a workload": (
        'workload = "mnist+hiden=3"',
        1,
        "no change 'hiden' of a workload; known: dataset, hidden, ",
    ),
}
