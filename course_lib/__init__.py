"""Small, tested PyTorch implementations of the generative models that the notebooks teach. One idea, one file.

Import from the file of the idea: `from course_lib.train import fit`. The README's idea index says where each one lives.
"""

__version__ = "0.1.0"
