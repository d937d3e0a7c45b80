"""minicam: skin lesion classification with class activation maps, written by hand in NumPy and CUDA.

The package teaches, and really runs, one paper: "Skin Lesion Classification using Class Activation Map" (Jia and
Shen, arXiv 1703.01053). Read it in the order in which it imports itself:

    backend -> source -> emulator, nvrtc -> cuda -> device -> ops -> layers -> model
    -> weights, cam, optim, data, metrics, files, store -> config, features, shortcuts -> choices -> run, inference
    -> pictures, fit, results -> train -> evaluate, explain, controls, reproduce, bench
"""

__version__ = "0.1.0"


class MinicamError(Exception):
    """Bad input. The message is one line: what was found, what was expected, what to do."""
