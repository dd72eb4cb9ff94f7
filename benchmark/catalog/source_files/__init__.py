"""What lies in a user's source of images, as its files tell without decoding any."""
