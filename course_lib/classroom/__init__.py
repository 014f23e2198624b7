"""Exercises in class: the `course` command (cli), grading of a folder of submissions (grading), and the sandbox in
which their kernels run (sandbox). Nothing that a lesson teaches."""
