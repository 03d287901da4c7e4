"""Image and mask files: names, headers, values; free of torch and nnU-Net."""
