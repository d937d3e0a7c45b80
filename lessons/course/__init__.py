"""What the lessons share, so that their cells show only what they are about.

    exercise  how an answer is checked, and what is said of it
    checks/   the checks, one file a lesson
    plot      the look of all figures
    real      real pictures and weights, where they have been downloaded; recorded figures
    emulated  kernels that are texts, run in the emulator
"""
