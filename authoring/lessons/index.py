# %% [markdown]
# # Generative models: the first page
#
# All lessons, in order. Begin with [lesson 00](00_start_here.ipynb); each says at its top what you need for it. **Run the
# cell below** (click on it, then Shift+Enter) to see what you have done. A link opens a lesson or its exercise in a tab.

# %%
from course_lib.classroom.progress import first_page

first_page()

# %% [markdown]
# - **Stuck in an exercise?** A check says what is wrong in one sentence; `hint()` then says more, in three steps.
# - **Tried too many things?** In a terminal (File > New > Terminal), `.venv/bin/course reset 31` brings lesson 31 back as it
#   was, and `.venv/bin/course reset 31 --exercise` its exercise. Your own version is kept in the folder `mine`.
# - **Something does not run?** `.venv/bin/course doctor` says what to do.
# - **What does that letter mean?** The [table of symbols](symbols.ipynb). **Where is that idea in the code?** The
#   [idea index](../course_lib/README.md).
