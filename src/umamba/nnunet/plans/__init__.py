"""Derive plans that name our networks from nnU-Net's, and build the networks they describe."""
