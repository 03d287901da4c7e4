"""Cases, labels and checks of a data set, and its creation from folders of images and masks."""
