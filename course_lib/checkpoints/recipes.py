"""How each shipped checkpoint was made: one function a checkpoint, named like its file.

A recipe takes nothing, trains with the same functions that the lesson shows, measures, and returns the model with what
`checkpoint.save` writes beside it: recipe, seed, steps, seconds, metrics.  `make checkpoints NAME=judge` runs one.
The first paragraph of its docstring is the `recipe` text in the file.
"""
