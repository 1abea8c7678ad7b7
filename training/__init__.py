"""From a recipe and data to a run: objectives, collapse metrics, data, the loop and its evaluations."""
