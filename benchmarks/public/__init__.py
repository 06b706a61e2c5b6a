"""Published experiments on networks that are not ours, each repaired by one call and judged beside the published."""
