"""The network, its images and its metrics, loaded once however many repairs follow."""
