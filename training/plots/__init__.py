"""Pictures of runs: curves, prototypes' cosines, maps of embeddings. Empty, so that the command line stays quick."""
