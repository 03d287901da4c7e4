"""Plans: from nnU-Net's to those that name one of our networks, and the networks they describe."""
