"""The only room that knows nnU-Net: data sets, plans, trainers, training and prediction."""
