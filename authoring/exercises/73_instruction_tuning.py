# %% [markdown]
# # Exercise 73 · From a model that continues to one that answers
#
# Six parts on lesson 73: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib.chat import ASSISTANT, END, Vocabulary, prompt, replies, template, write
from course_lib.checks import hint
from course_lib.checks import instruction_tuning as check
from course_lib.claims import claim
from course_lib.data import house

words = Vocabulary(house.WORDS)
model = checkpoint.load("chat")
sure = checkpoint.load("chat_sure")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Whose words are these? (3 points)
#
# A row of tokens holds one or several turns: `<user>` (257), the user's words, `<assistant>` (258), the assistant's words,
# `<end>` (259), and so on; it begins with `<begin>` (256), and what remains of the row is filled with 259. The assistant has to
# learn its own words, *and the `<end>` that closes them*. It does not learn the marks 257 and 258, the user's words, or the
# fill.
#
# **Given** `tokens` of shape (B, L), int64. **Asked:** a tensor of shape (B, L) that is True where a token is to be learned.
# **Checked:** every value, for rows of one to three turns, empty answers and B = 1.

# %% tags=["solution:which_to_learn"]
def which_to_learn(tokens):
    """(B, L) int64 -> (B, L) bool"""
    ### BEGIN SOLUTION
    begun = (tokens == ASSISTANT).cumsum(1) - (tokens == ASSISTANT).long()    # marks strictly before each place
    ended = (tokens == END).cumsum(1) - (tokens == END).long()
    return begun > ended
    ### END SOLUTION

# %% tags=["test:check_which_to_learn:3"]
check.which_to_learn(which_to_learn)
### BEGIN HIDDEN TESTS
_turns = [("Ben is in the hall. Where is Ben?", "Ben is in the hall."), ("Thanks!", "You are welcome.")]
_words = Vocabulary(house.WORDS)
_tokens, _learn = template(_words, _turns)
_got = which_to_learn(torch.tensor([_tokens + [259] * 4, template(_words, _turns[::-1])[0] + [259] * 4]))
assert torch.as_tensor(_got).bool()[0].tolist() == _learn + [False] * 4, "another mask for a dialogue of two turns"
assert torch.as_tensor(_got).bool()[1].tolist() == template(_words, _turns[::-1])[1] + [False] * 4
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · The loss of what is learned (3 points)
#
# The model has read the first T of T + 1 tokens, and its guess at place $t$ is about token $t + 1$. Average the surprise over
# the tokens that are to be learned, all rows together:
#
# $$-\frac{1}{n} \sum \log p(x_{t+1} \mid x_1, \dots, x_t),$$
#
# where the sum has one term for each of the $n$ learned tokens $x_{t+1}$.
#
# **Given** `logits` of shape (B, T, V), `tokens` of shape (B, T + 1), int64, and `learn` of shape (B, T + 1), bool. **Asked:**
# the loss in nats, a tensor with a single value. **Checked:** the value, and the gradient with respect to `logits`. A first
# token may be marked True, too; nobody has guessed it, so it does not count.

# %% tags=["solution:masked_loss"]
def masked_loss(logits, tokens, learn):
    """(B, T, V), (B, T + 1) int64, (B, T + 1) bool -> ()"""
    ### BEGIN SOLUTION
    targets = tokens[:, 1:].masked_fill(~learn[:, 1:], -100)      # the mask moves with the targets; -100 is not counted
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    ### END SOLUTION

# %% tags=["test:check_masked_loss:3"]
check.masked_loss(masked_loss)
### BEGIN HIDDEN TESTS
_logits, _tokens = torch.randn(3, 6, 5), torch.randint(0, 5, (3, 7))
_learn = torch.tensor([[0, 0, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 1, 1, 0]]).bool()
_each = F.cross_entropy(_logits.transpose(1, 2), _tokens[:, 1:], reduction="none")
_want = _each[_learn[:, 1:]].mean()
_got = masked_loss(_logits.clone(), _tokens.clone(), _learn.clone())
torch.testing.assert_close(torch.as_tensor(_got).detach().float().reshape(()), _want, rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# A model writes n tokens for each prompt, and everything from the first `<end>` (259) on is cut off. The function below says how
# many tokens of each reply remain. It was tested with a good model, and all its numbers were right. But with the model of the
# lesson that has never learned `<end>`, the table of results says that its answers are *empty*, and they are not. There is
# **one bug**.

# %%
def reply_lengths_broken(rows):
    ends = (rows == END).long()
    return ends.argmax(dim=1)                                     # the place of the first 1

# %%
questions = ["Thank you.", "Where does Norun lie?", "What is 3 + 4?"]
prompts = [prompt(words, [], text) for text in questions]
for name in ("chat", "chat_careless"):
    written = write(checkpoint.load(name), prompts, 24)
    rows = torch.tensor([row + [END] * (24 - len(row)) for row in written])
    print(f"{name:14}", reply_lengths_broken(rows).tolist(), "but it wrote", [len(row) for row in written])

# %% [markdown]
# **Given** `rows` of shape (B, n), int64: what a model wrote. **Asked:** `reply_lengths`, the same function without the bug: for
# each row the number of tokens before its first 259, and n where there is none; a tensor of shape (B,). **Checked:** the values,
# for rows with several, one and no 259, also at the very beginning.
#
# Why did the test with a good model not show it?

# %% tags=["solution:reply_lengths"]
def reply_lengths(rows):
    """(B, n) int64 -> (B,)"""
    ### BEGIN SOLUTION
    closed = F.pad(rows, (0, 1), value=END)                       # now every row has an <end>
    return (closed == END).long().argmax(dim=1)
    ### END SOLUTION

# %% tags=["test:check_reply_lengths:3"]
check.reply_lengths(reply_lengths)
### BEGIN HIDDEN TESTS
_rows = torch.tensor([[5, 6, 7, 8], [259, 5, 259, 6], [5, 259, 259, 259], [9, 9, 9, 259], [1, 2, 3, 4]])
assert torch.as_tensor(reply_lengths(_rows.clone())).tolist() == [4, 0, 1, 3, 4], "other lengths for five replies"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: where do made-up answers come from? (3 points)
#
# `sure` has been trained without any question that nobody can answer. We ask it for a hundred people who do not occur in the
# story. It answers all the same. Out of thin air?

# %%
exam = house.exam(11, "where", 100, unknown=True)
stories = [text.removesuffix(question.text) for text, question in exam]
said = replies(sure, words, [text for text, _ in exam])
for k in range(3):
    print(f"{exam[k][0]}\n    {said[k]}")

# %% [markdown]
# **Given** `stories` and `said`, two lists of 100 strings: the stories without their questions, and the replies. **Asked:**
# `borrowed`. Take the replies that name one of the eight rooms of `house.ROOMS`. In what share of these does the story name that
# room, too? **Checked:** your number, within half a percent.

# %% tags=["solution:borrowed"]
borrowed = ...  # set it to your number at the end
### BEGIN SOLUTION
named = [(story, room) for story, reply in zip(stories, said) for room in house.ROOMS if room in reply]
borrowed = sum(room in story for story, room in named) / len(named)
claim("replies that name a room, of 100", len(named), ">", 60)
### END SOLUTION

# %% tags=["test:check_borrowed:3"]
check.borrowed(borrowed, stories, said)
### BEGIN HIDDEN TESTS
_exam = house.exam(11, "where", 100, unknown=True)
_said = replies(checkpoint.load("chat_sure"), Vocabulary(house.WORDS), [_text for _text, _ in _exam])
_named = [(_text, _room) for (_text, _), _reply in zip(_exam, _said) for _room in house.ROOMS if _room in _reply]
_share = sum(_room in _text for _text, _room in _named) / len(_named)
assert abs(float(borrowed) - _share) < 0.005, "another number comes out when it is measured again"
### END HIDDEN TESTS

# %% [markdown]
# What would it be if a room was drawn at random, for the same stories?

# %%
chance = sum(sum(room in story for room in house.ROOMS) / 8 for story in stories) / len(stories)
print(f"a room drawn at random occurs in the story with probability {chance:.2f}")

# %% [markdown]
# ## 5 · Why does it make things up? (3 points)
#
# **Explain** in five to eight sentences. (i) Your number of task 4 and the chance below it: what does the model do when the
# person it is asked for is not there? (ii) In training, every question had an answer. Why does no loss ever tell such a model
# that it should be silent, and why would more dialogues of the same sort not help? (iii) The lesson's repair, examples of "Nobody
# said ...", works for people in a story. Asked for a town that does not exist, the repaired model still invents. What would it
# have to know about itself to be silent there, and where is the difference to a person who is missing in a story?

# %% [markdown] tags=["manual:explain_invention:3"]
# (i) Five in six of the rooms that it names occur in the story; a room drawn at random would in less than a third of the cases. It
# looks up a room as it always does, and where the name has no match, it takes that of somebody else: a plausible answer, in the
# right form, about the wrong person. (ii) The
# loss asks only for the words of the example answers. Where every example has an answer, "Nobody said" has never been right, and
# to say it would cost bits each time. More examples of that sort make it surer of the same habit; what it should do without a
# match is never asked. (iii) Whether a person occurs in the story can be seen in the text that it reads: it has to compare. For a
# town it would have to know whether *it* has learned where the town lies, something about its own weights that stands in no
# text. Examples of refused towns could teach it, if they were chosen by what the model really knows; with any other choice it
# learns to guess, or to refuse what it knows.
#
# **Rubric.** 1 point: (i) it borrows from the story, by the comparison with chance. 1 point: (ii) the loss only rewards answers
# like those in the examples; silence never was one. 1 point: (iii) the one can be read off the context, the other is knowledge
# about its own knowledge.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about the assistant that the lesson does not answer, **write down your guess**, and find out with `model`,
# `replies` and `house`. Examples: How does it do on longer stories than those of its training (4 to 10 sentences)? What if the
# same thing is told twice, differently? Does it matter if the question has a word that the model does not know, or if two
# sentences change places? How probable does it find its wrong answers, compared with its right ones? Your code shall run in less
# than a minute.

# %% tags=["solution:own_experiment"]
from random import Random

shares = {}
for n_event in (2, 6, 12, 18):
    asked, right = [], []
    for number in range(60):
        sentences, world = house.story(Random(1_000 * n_event + number), n_event, 3, 2)
        question = house.ask(Random(number), world, "where", tested=True)
        asked.append(" ".join([*sentences, question.text]))
        right.append(question)
    shares[n_event] = house.score(right, replies(model, words, asked))
print({n_event: round(share, 2) for n_event, share in shares.items()})
claim("right answers after two events", shares[2], ">", 0.9)
claim("right answers after eighteen events", shares[18], "<", 0.8)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** how long may a story be? The stories of the dialogues had 1 to 4 events. **Guess:** more
# than twice as long, and it takes an old room for the new one. **Experiment:** 60 stories each with 2, 6, 12 and 18 events, three
# people and two things; one question each, "where", in a phrasing never seen. **Result:** 1.00, 0.98, 0.90 and 0.62 are right. Six
# events, more than it has seen in a dialogue, do no harm; at eighteen it fails in more than a third. **Sure?** With 60 questions the
# standard error of 0.90 is 0.04, so that 12 is worse than 6 is likely, and that 18 is worse than 12 is certain. **Next:** when it
# fails, does it name a room in which the person was before, or a room of somebody else? That would tell which of the two steps of
# looking up is lost.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed and
# the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether or not it agrees with the
# guess. 1 point: says how sure the result is (several draws, a standard error) or what might be wrong with it.
