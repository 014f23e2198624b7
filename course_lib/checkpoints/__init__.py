"""How each shipped checkpoint was made: one function a checkpoint, named like its file; one module a part of the
course.

A recipe takes nothing, trains with the same functions that the lesson shows, measures, and returns the model with what
`checkpoint.save` writes beside it: recipe, seed, steps, seconds, metrics.  `make checkpoints NAME=judge` runs one.
The first paragraph of its docstring is the `recipe` text in the file. What begins with `_`, or stands in `made`, is no
recipe; functions that a benchmark needs too (`vae_after`) take arguments, and are none either.
"""
