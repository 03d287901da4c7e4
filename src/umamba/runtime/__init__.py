"""Predict with an exported model, by an ONNX engine: free of torch and nnU-Net."""
