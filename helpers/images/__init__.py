"""From files of images to the network's inputs."""
