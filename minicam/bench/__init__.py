"""What minicam costs, measured: `python -m minicam.bench`.

    kernels.py     what the compiler says of each CUDA kernel; no GPU needed
    gpu.py         how fast they run on a GPU, beside the GPU's own limits and PyTorch
    cases.py       what is run there: each operation of a network, and how to know that its result is right
    step.py        the same of a whole training step
    reference.py   what must come out, in float64
    peaks.py       how fast this GPU copies, and multiplies matrices
    twin.py        the same layers in PyTorch
    clock.py       how long something takes
    figures.py     from seconds to rows, from rows to what is printed
"""
