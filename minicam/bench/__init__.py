"""What minicam costs, measured: `python -m minicam.bench`.

    cpu.py         how fast VGG16-GAP runs and trains on the CPU, and in how much memory, beside PyTorch
    profile.py     where the time of a step on the CPU goes
    gpu.py         how fast the kernels run on a GPU, beside the GPU's own limits and PyTorch
    data.py        how fast photographs become the network's input, beside Pillow
    kernels.py     what the compiler says of each CUDA kernel; no GPU needed
    cases.py       what cpu and gpu run: each operation of a network, and how to know that its result is right
    operation.py   one of them: checked, timed, and made a row
    step.py        the same of a whole training step
    side.py        the whole network in a process of its own, ours or PyTorch's
    reference.py   what must come out, in float64
    peaks.py       how fast this machine copies, and multiplies matrices
    twin.py        the same layers in PyTorch
    clock.py       how long something takes
    figures.py     from seconds to rows, and the tables of a GPU
    cpu_report.py  the tables of a CPU
"""
