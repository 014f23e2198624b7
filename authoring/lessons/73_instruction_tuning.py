# %% [markdown]
# # 73 · Instruction tuning: from a model that continues to one that answers
#
# A language model continues texts. Ask it a question, and it may go on with anything that could stand there next. What
# makes an assistant of it? Less than one might think: the same loss, on examples of dialogues. This is **instruction
# tuning**. This lesson takes a small model that has only read stories about a house and shows it dialogues for a minute
# or two. Because a program wrote the stories, a program knows every answer, and each claim about the assistant can be
# checked. The picture shows a conversation with it.
#
# **After this lesson you can**
# - turn dialogues into tokens, decide which of them a model should learn, and train it on them;
# - measure what it learned: families of questions, phrasings never seen, facts never asked for, what was forgotten;
# - produce two famous failures, a model that speaks for both sides and one that always has an answer, and repair them.
#
# **You need** lesson [54](54_gpt.ipynb) (GPT, bits per byte). **It takes** 60 minutes to read and 40 seconds to run.
# **How hard:** ••. All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
from random import Random
from textwrap import fill

import matplotlib.pyplot as plt
import torch
from torch.testing import assert_close

from course_lib.chat import ASSISTANT, BEGIN, END, USER, Chat, Vocabulary, prompt, replies, write
from course_lib.checkpoint import load as load_checkpoint

# %%
from course_lib.checkpoint import metadata
from course_lib.claims import claim
from course_lib.data import Batches, house
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, diagram, sliders

words = Vocabulary(house.WORDS)
base, chat = load_checkpoint("chat_base"), load_checkpoint("chat")

# %%
# Figure: a conversation in speech bubbles. The user tells of Ben, Eva and a lamp and asks who has the
# lamp, where it is after Ben has moved, how many stars Eva counted, where Kim is, of whom nothing was
# said, how to spell "tram" backwards, where the town of Likol lies, and says thanks; each answer is
# short and right.
story = "Ben is in the hall. Eva is in the attic. The lamp is in the hall. Ben took the lamp. "
lines = [story + "Eva counted 7 stars. Who has the lamp?", "Ben ran to the garden. Where is the lamp now?",
         "How many stars did Eva count?", "Do you know where Kim is?", 'Please spell "tram" backwards.',
         "Where is the town of Likol?", "Many thanks."]
talk = Chat(chat, words)
y = 0.0
_, ax = plt.subplots(figsize=(9, 5.2))
for line in lines:
    both = ((0.99, "right", "0.5", line), (0.01, "left", COLOURS[0], talk.say(line)))
    for x, side, colour, text in both:
        wrapped = fill(text, 62)
        bubble = dict(boxstyle="round,pad=0.4", facecolor=colour, alpha=0.16, edgecolor="none")
        ax.text(x, y, wrapped, ha=side, va="top", fontsize=10, bbox=bubble)
        y -= 0.55 + 0.5 * wrapped.count("\n")
ax.set(xlim=(0, 1), ylim=(y, 0.3))
ax.set_axis_off()

# %% [markdown]
# On the right, somebody asks; on the left, a model of 200,000 parameters answers. It follows what was told, remembers
# that the lamp went with Ben, says so where it cannot know, and knows some things that no user told it.
#
# ## A house in which everything is known
#
# `house` is a world of people, rooms and things. A *story* is a list of sentences; the *world* is all that they have
# told. A question belongs to a *family* (where somebody is, who has a thing, how many somebody counted, ...) and comes
# with its exact answer. And any sentence can be judged: is it possible after what was told before?

# %%
sentences, world = house.story(Random(4), n_event=3)
print(" ".join(sentences))
for family in house.askable(world):
    question = house.ask(Random(1), world, family)
    print(f"{family:8} {question.text:42} {question.answer}")
question = house.ask(Random(1), world, "where", unknown=True)
print(f"{'unknown':8} {question.text:42} {question.answer}")

# %%
person, room = list(world.at.items())[0]
other = next(r for r in house.ROOMS if r != room)
for sentence in (f"{person} is in the {room}.", f"{person} went to the {other}.",
                 f"{person} is in the {other}."):
    print(f"{sentence:30} possible: {house.possible(sentence, world)}")

# %% [markdown]
# Beside the stories there are 96 towns, each in one of six parts of a land, and tasks that need no story: small sums,
# letters backwards, plurals, rhymes. Some of this is kept out of all dialogues, for the tests: two phrasings of each
# family, four people, half of the towns, every fifth noun, and one family as a whole, the *last letter* of a word.
#
# ## A model that continues
#
# The base model read 30,000 documents: stories whose facts are told again in other words, lists, and sentences about
# the towns. No document holds a question. Below, `words` turns texts into tokens and back (how, we shall see), and
# `write` lets a model go on, as `generate` does in lesson 54. Given nothing but `BEGIN`, the token with which every
# document begins, the base model writes:

# %%
written = write(base, [[BEGIN]] * 40, 100, temperature=1.0, generator=seeded(3))
written = [words.decode(row) for row in written]
stories = [text for text in written if " is in the " in text.split(".")[0]]
print(fill(stories[0], 100))

# %%
def coherent(texts):
    """The share of sentences that are possible where they stand."""
    counts = torch.tensor([house.coherence(text) for text in texts]).sum(0)
    return (counts[0] / counts[1]).item()

true_stories = [" ".join(house.story(Random(n), 8, 3, 2)[0]) for n in range(40)]
everything = [sentence for text in true_stories for sentence in text.split(". ")]
Random(0).shuffle(everything)
mixed = [". ".join(everything[k:k + 13]) + "." for k in range(0, len(everything) - 12, 13)]
claim("possible sentences in true stories", coherent(true_stories), "==", 1.0)
claim("possible sentences in the base model's stories", coherent(stories), ">", 0.6)
claim("possible sentences in a shuffle of many stories", coherent(mixed), "<", 0.45)

# %% [markdown]
# Nobody judged by reading: the program follows the world sentence by sentence. The model *knows* things, too. After a
# story, what does it hold for the next word of "Ben is in the"? And of "Likol lies in the"?

# %%
def next_word(model, text):
    return words.decode(write(model, [[BEGIN, *words.encode(text)]], 1)[0])

for begun in (story + "Ben is in the", story + "Eva is in the", story + "The lamp is with",
              "Likol lies in the"):
    print(f"... {begun[-24:]:26} {next_word(base, begun)}")
made = metadata("chat_base")
claim("facts of a story that it goes on with", made["metrics"]["facts"], ">", 0.9)
claim("towns that it puts where they lie", made["metrics"]["towns"], ">", 0.97)

# %%
# Figure: two curves over the number of training batches: the share of facts of a story that are the
# most probable next word, which stays near two thirds and then rises within a few hundred batches,
# and the share of towns, which rises early.
stages = torch.tensor(made["stages"])                             # batches, bits per byte, facts, towns
_, ax = plt.subplots(figsize=(7, 3))
for column, name in ((2, "facts of a story"), (3, "towns")):
    ax.plot(stages[:, 0], stages[:, column], "o-", ms=3, color=COLOURS[column - 2], label=name)
ax.set(xlabel="training batches", ylabel="share of next words right", ylim=(0, 1.03))
ax.legend(loc="lower right");

# %% [markdown]
# The towns are learned one after the other. The facts of a story are different: their curve stays near two thirds for
# hundreds of batches, and then it rises within a few hundred. A likely reason: to look a fact up takes two steps of
# attention, one that finds the name and one that reads what was said of it, and neither helps before the other is there.
# Until then, the model can only guess among the rooms of the story. (Lesson 75 finds two such steps in a smaller model.)
#
# ### Ask it a question
#
# **Write down a guess:** we ask this model, in plain text, where Ben is. What will it write?

# %%
exam = house.exam(0, "where", 100)                                # (what the user says, question)
for text, _ in exam[:4]:
    row = write(base, [[BEGIN, *words.encode(text)]], 12)[0]
    print(f"{text[-38:]!r:42} {words.decode(row)[:50]!r}")

# %%
def first_sentence(row):
    return words.decode(row).split(".")[0] + "."

def as_text(shots):
    """Right answers of the base model to the exam as plain text, after so many examples."""
    examples = house.exam(9, "where", 5, tested=False)[:shots]
    shown = "".join(f"{text} {question.answer} " for text, question in examples)
    rows = write(base, [[BEGIN, *words.encode(shown + text)] for text, _ in exam], 12)
    return house.score([question for _, question in exam], [first_sentence(row) for row in rows])

claim("right answers of the base model", as_text(0), "<", 0.1)
claim("right answers of the base model after three examples", as_text(3), "<", 0.5)
claim("the most frequent answer, always", house.majority([question for _, question in exam]), "<", 0.3)

# %% [markdown]
# <details><summary>Answer</summary>
#
# It goes on with the story, or with something else that occurs in stories. Its documents hold no questions, so it has
# never read an answer, and three examples do not change that. The knowledge is there, as the cells above show; what is
# missing is the habit. (Large models have read questions with answers, and there examples in the prompt do help.)
# </details>
#
# ## What we will build

# %%
# Figure: a diagram. Dialogues become tokens with marks and a mask; they are packed into rows (N,
# 257). The base model (B, T) gives logits, and the loss counts only the tokens of the answers.
dialogue, marked = "dialogues", "template:\ntokens and mask"
rows_box, logits_box = "packed rows\n(B, T + 1)", "logits\n(B, T, vocab)"
loss_box, chat_box = "loss of the\nanswers alone", "conversation"
boxes = {dialogue: (0, 1), marked: (1.2, 1), rows_box: (2.5, 1), "GPT": (3.6, 1),
         logits_box: (4.6, 1), loss_box: (5.8, 1), "documents": (1.2, 0), chat_box: (5.8, 0)}
arrows = [(dialogue, marked), (marked, rows_box), ("documents", rows_box), (rows_box, "GPT"),
          ("GPT", logits_box), (logits_box, loss_box), ("GPT", chat_box)]
diagram(boxes, arrows, {"GPT": COLOURS[0], loss_box: COLOURS[3]});

# %% [markdown]
# The network, in blue, is the GPT of lesson 54, and it is trained in the same way. What is new is what it reads, and
# which of its guesses count.
#
# ## Seven tokens, by hand
#
# A dialogue of seven tokens: `<user> Where? <assistant> Ben is here <end>`. Say the model gives the next token, in this
# order, the probabilities 1/64, 1/8, 1/2, 1/4, 1/2 and 1/2. In bits that is 6, 3, 1, 2, 1, 1. The first two are not the
# assistant's to say. What it has to learn are "Ben", "is", "here", *and that it has finished*: $(1 + 2 + 1 + 1) / 4 =
# 1.25$ bits. With everything counted it would be $14 / 6 = 2.33$, and most of that would be about what people ask.

# %%
p = torch.tensor([1 / 64, 1 / 8, 1 / 2, 1 / 4, 1 / 2, 1 / 2])     # tokens 2 to 7, given those before
learn = torch.tensor([False, False, True, True, True, True])
bits = -p.log2()
print(f"answers alone: {bits[learn].mean():.2f} bits a token, everything: {bits.mean():.2f}")

# %% [markdown]
# ## Tokens that nobody can type
#
# The words of the house and the digits are one token each, everything else is bytes. Four numbers are neither: the
# **marks** `<begin>`, `<user>`, `<assistant>` and `<end>`. A user who types `<end>` gets five bytes, not the mark; if it
# were otherwise, anybody could put words into the assistant's mouth.

# %%
print(words.encode("Ben ran off."), words.shown(words.encode("Ben ran off.")))
typed = words.encode("<end><assistant> Ben is in the attic.")
assert not {BEGIN, USER, ASSISTANT, END} & set(typed)
assert words.decode(typed) == "<end><assistant> Ben is in the attic."

# %% [markdown]
# The **template** puts a dialogue into one row and notes what of it the assistant has to say:

# %%
def my_template(turns):
    tokens, learn = [BEGIN], [False]
    for said, answer in turns:
        question = [USER, *words.encode(said), ASSISTANT]
        reply = [*words.encode(answer), END]
        tokens += question + reply
        learn += [False] * len(question) + [True] * len(reply)
    return tokens, learn

turns = [("Ben is in the hall. Where is he?", "Ben is in the hall."),
         ("Thank you.", "You are welcome.")]
tokens, learn = my_template(turns)

# %%
# Figure: the tokens of a dialogue of two turns as tiles in rows, marks in italics. The tiles of both
# answers and of the marks <end> after them are blue: they are learned. All others are grey.
_, ax = plt.subplots(figsize=(9, 2.0))
x, y = 0.0, 0.0
for name, wanted in zip(words.shown(tokens), learn):
    width = 0.9 + 0.55 * len(name)
    if x + width > 56:
        x, y = 0.0, y - 1
    colour = COLOURS[0] if wanted else "0.6"
    ax.text(x, y, name.replace(" ", "·"), fontsize=9, family="monospace", va="center",
            style="italic" if name.startswith("<") else "normal",
            bbox=dict(boxstyle="square,pad=0.25", facecolor=colour, alpha=0.3, edgecolor="none"))
    x += width
ax.set(xlim=(-0.5, 58), ylim=(y - 0.6, 0.6))
ax.set_axis_off()

# %% [markdown]
# Blue is learned: the answers, and after each that it is over. (A dot stands for a space. "he" and "Thank" are no words
# of the house, so they are spelled.)
#
# ## Prove it

# %%
from course_lib.chat import chat_loss, pack, template

assert my_template(turns) == template(words, turns)

def my_chat_loss(model, tokens, learn):                           # 2 x (B, T + 1)
    log_p = model(tokens[:, :-1]).log_softmax(-1)                 # (B, T, vocab_size)
    targets = tokens[:, 1:]                                       # (B, T)
    of_targets = log_p.gather(2, targets[:, :, None])[:, :, 0]    # (B, T)
    return -of_targets[learn[:, 1:]].mean()                       # the mask moves with the targets

row, mask = torch.tensor([tokens]), torch.tensor([learn])
assert_close(my_chat_loss(base, row, mask), chat_loss(base, row, mask)["loss"])

# %% [markdown]
# The library's form hands `F.cross_entropy` the number −100 where nothing is to be learned, PyTorch's convention for
# "do not count". Is the mask right, and not off by one? What is not counted has no gradient: we look at which *guesses*
# feel the loss.

# %%
guesses = base(row[:, :-1]).detach().requires_grad_()             # (1, T, vocab_size)
chat_loss(lambda idx: guesses, row, mask)["loss"].backward()
felt = guesses.grad.abs().sum(2)[0] > 0                           # (T,)
print("the loss is felt where the next token is:", words.shown(row[0, 1:][felt]))

# %% [markdown]
# ## Packing
#
# Dialogues have different lengths. One dialogue a row, filled up to the longest, wastes much of the computation.
# **Packing** puts several whole ones into a row of 257 tokens; the mark `<begin>` says where a new one starts.

# %%
dialogues = [house.conversation(Random(n)) for n in range(600)]
rows = [template(words, turns) for turns in dialogues]
lengths = torch.tensor([len(tokens) for tokens, _ in rows])
packed, packed_mask = pack(rows, 256)                             # 2 x (N, 257)
print(f"{len(rows)} dialogues of {lengths.min()} to {lengths.max()} tokens in {len(packed)} rows")
print(f"filling one a row, up to the longest: {1 - lengths.double().mean() / lengths.max():.2f}; "
      f"packed: {1 - lengths.sum() / packed.numel():.2f}")
claim("share of all tokens that are learned", packed_mask.double().mean(), "<", 0.6)

# %%
# Figure: 24 rows of 257 tokens as coloured bars, the dialogues of a row in orange and blue by turns, dark
# where an answer stands; white at the right where a row is not full.
which = (packed == BEGIN).long().cumsum(1)                        # 1 for a row's first dialogue, 2, ...
shade = 2.0 * (which % 2) + ~packed_mask                          # colours of "tab20": blue or orange
shade[(packed == END) & ~packed_mask] = float("nan")              # the fill stays white
_, ax = plt.subplots(figsize=(9, 2.6))
ax.imshow(shade[:24], cmap="tab20", vmin=0, vmax=19, aspect="auto", interpolation="nearest")
ax.set(xlabel="place in the row", ylabel="row");

# %% [markdown]
# The colour changes where a new dialogue begins, and what is dark is learned. The price of packing: from a dialogue the
# model can look back at the one before it in its row. It should learn that nothing before `<begin>` matters. We shall
# check whether it does.
#
# ## Train
#
# The same `fit` and the same Muon as in lesson 54, from the weights of the base. For every four dialogues, one document
# like those that the base has read is mixed in; we shall see why. 100 batches:

# %% tags=["nbval-ignore-figure"]
# Figure: the training loss over 100 steps, which falls from 7 to below 1, fast at first.
# not compared: trained here
from copy import deepcopy

from course_lib.muon import muon
from course_lib.train import fit

for n in range(150):
    text = [BEGIN, *words.encode(house.document(Random(n)))]
    rows.append((text, [False] + [True] * (len(text) - 1)))
seed(0)
Random(0).shuffle(rows)
small = deepcopy(base)
batches = Batches(*pack(rows, 256), batch_size=8)
history = fit(small, chat_loss, batches, steps=100, optimizer=muon, warmup=10, decay=0.7)
history.plot();

# %%
def right(model, family, n=40, **which):
    """The share of right answers to n questions of a family, in phrasings that it has not seen."""
    texts, questions = zip(*house.exam(1, family, n, **which))
    return house.score(questions, replies(model, words, list(texts)))

claim("right answers after 100 batches: where", right(small, "where"), ">", 0.6)
claim("right answers after 100 batches: town", right(small, "town"), ">", 0.05)
claim("right answers after 100 batches: capitals", right(small, "capitals"), "<", 0.2)

# %% [markdown]
# Ten seconds, and it says who is where. It did not learn to look that up in ten seconds: the base could, and now it has
# learned to do so when it is asked. Tasks with capital letters were in no document, and 100 batches did not teach them.
# The shipped assistant saw 20,000 dialogues, in 1,200 larger batches, by the same code.
#
# ## What did it learn?
#
# Each family of questions is asked in phrasings that no dialogue has. An answer counts if it is exactly right. The
# columns of the table: the base model; the most frequent value, always (what one can do without the story); the mean of
# five short trainings (200 batches) from random weights, and of five from the base; the shipped model.

# %% tags=["nbval-ignore-output"]
# not compared: measured shares, of which the next cells check what matters
about = metadata("chat")
trials = {}                                                       # name -> five seeds -> {what: number}
for name in ("chat", "chat_scratch", "chat_sure", "chat_careless"):
    trials |= metadata(name)["trials"]
FAMILIES = (*house.LOOK_UPS, *house.FACTS, *house.SKILLS, "talk", house.HELD_OUT)

def five(name, what):
    """What five trainings reached.  -> (5,)"""
    return torch.tensor([trial[what] for trial in trials[name]])

print(f"{'':10}  base  majority  from scratch  from base  shipped")
for family in FAMILIES:
    guess = house.majority([question for _, question in house.exam(1, family, 200)])
    print(f"{family:10}{about['base'][family]:6.2f}{guess:8.2f}{five('from scratch', family).mean():12.2f}"
          f"{five('as it is', family).mean():12.2f}{about['metrics'][family]:10.2f}")

# %%
def mean_of(families, scores):
    return sum(scores[family] for family in families) / len(families)

others = (*house.SKILLS, "talk")                                  # what needs neither a story nor a memory
claim("base model, mean of all families", mean_of(FAMILIES, about["base"]), "<", 0.05)
claim("shipped, mean of the families without a story", mean_of(others, about["metrics"]), ">", 0.9)
claim("shipped, mean of the questions about a story", mean_of(house.LOOK_UPS, about["metrics"]), ">", 0.75)
for family in ("where", "capitals"):
    mine = right(chat, family, 60)
    claim(f"measured here, {family}", mine, ">", about["metrics"][family] - 0.15)

# %%
# Figure: for each of fourteen families a row of dots on an axis from 0 to 1: five short trainings
# from random weights, five from the base, the shipped model as a diamond, and a dashed mark for the
# most frequent value.
_, ax = plt.subplots(figsize=(8.5, 4.4))
for place, family in enumerate(FAMILIES):
    guess = house.majority([question for _, question in house.exam(1, family, 200)])
    ax.plot(five("from scratch", family), [place + 0.15] * 5, "o", ms=4, color=COLOURS[1])
    ax.plot(five("as it is", family), [place - 0.15] * 5, "o", ms=4, color=COLOURS[0])
    ax.plot(about["metrics"][family], place, "D", ms=6, color="black")
    ax.plot([guess, guess], [place - 0.4, place + 0.4], "--", color="0.5")
ax.plot([], [], "o", color=COLOURS[1], label="200 batches, from scratch")
ax.plot([], [], "o", color=COLOURS[0], label="200 batches, from the base")
ax.plot([], [], "D", color="black", label="shipped")
ax.plot([], [], "--", color="0.5", label="most frequent value")
ax.set(yticks=range(len(FAMILIES)), yticklabels=FAMILIES, xlim=(-0.03, 1.03),
       xlabel="share of exactly right answers")
ax.invert_yaxis()
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9);

# %% [markdown]
# From random weights, 200 batches teach the form of an answer and little else: small talk needs no more, and whoever
# asks for the last letter gets some letter of the word, one time in four the right one. From the base, the same 200
# batches bring the look-ups and the towns, which it knew and had only to learn to say. What no document has shown, such
# as letters backwards, must be learned from the dialogues themselves and needs more of them: compare the diamonds.
#
# One family fails, and without the dashed mark beside it we might have thought that it half succeeds. What goes wrong
# when it is asked *whether* Ben is in the hall?

# %%
texts, questions = zip(*house.exam(1, "whether", 100))
said = replies(chat, words, list(texts))
print(questions[0].text, "->", said[0])
rooms_right = sum(reply.split(",")[0] == q.answer.split(",")[0] for reply, q in zip(said, questions)) / 100
says_yes = sum(reply.endswith("so yes.") for reply in said) / 100
claim("replies that name the right room", rooms_right, ">", 0.95)
claim("replies that end in yes", says_yes, ">", 0.8)
claim("questions whose answer is yes", sum(q.value == "yes" for q in questions) / 100, "<", 0.6)

# %% [markdown]
# It looks up the room, each time the right one, and then it says yes. To compare that room with the one in the question
# is one step more, which 1,200 batches have not taught it. A person who read two or three such answers would believe it.
#
# ### What was never shown
#
# Four of the people, half of the towns and one family are in no dialogue. The base has read about these people and
# towns; for the last letter of a word nobody has ever asked.

# %%
scores = about["metrics"]
claim("towns that dialogues ask for, shipped", scores["towns seen"], ">", 0.95)
claim("towns that dialogues never ask for, shipped", scores["town"], ">", 0.8)
claim("stories, phrasings of the dialogues", scores["phrasings seen"], ">", 0.8)
claim("stories, phrasings never seen", mean_of(house.LOOK_UPS, scores), ">", 0.8)
claim("stories, phrasings and people never seen", scores["new people"], "<", 0.7)
claim("last letters", scores["last"], "<", 0.2)
texts, questions = zip(*house.exam(5, "last", 60))
said = replies(chat, words, list(texts))
pairs = [(reply, question.key) for reply, question in zip(said, questions)]
print("the last letter:    ", sum(reply == word[-1] for reply, word in pairs), "of 60")
print("the first letter:   ", sum(reply == word[0] for reply, word in pairs), "of 60")
print("the whole, backwards:", sum(reply == word[::-1] for reply, word in pairs), "of 60")

# %% [markdown]
# A fact that was read and never asked for is answered too: half of the towns were enough to learn the habit. New
# phrasings cost next to nothing, new names cost more. And a new family is taken for the nearest that it knows: asked for
# the last letter, it gives the first, each time. Wei et al. (2021) tune a large model on more than 60 tasks, and there a
# new sort often works; with thirteen families it does not.
#
# ## What it forgot
#
# How many bits does the base pay for each byte of new documents, and how many does an assistant? Two kinds of training
# are compared, of 200 batches each and with the same dialogues; in one of them, every fifth text is a document of the
# base's sort.

# %%
before = made["metrics"]["bits_per_byte"]
with_documents = five("as it is", "bits_per_byte")
without = five("no documents", "bits_per_byte")
claim("bits per byte of plain text, base", before, "<", 0.5)
claim("what dialogues alone add, the least of five seeds", without.min() - before, ">", 1.5)
claim("what dialogues with documents add, the most of five seeds", with_documents.max() - before,
      "<", 0.06)
towns_alone, towns_too = five("no documents", "town"), five("as it is", "town")
claim("towns never asked for, dialogues alone, the best of five seeds", towns_alone.max(), "<", 0.4)
claim("the same, with documents, the worst of five seeds", towns_too.min(), ">", 0.5)

# %%
# Figure: left, bits per byte of plain text: the base as a dashed line, five dots each for dialogues
# alone and for dialogues with documents. Right, the share of right answers about towns never asked
# for, the same five.
_, (left, right_panel) = plt.subplots(1, 2, figsize=(8.5, 2.8))
for place, name in enumerate(("no documents", "as it is")):
    left.plot([place] * 5, five(name, "bits_per_byte"), "o", color=COLOURS[place])
    right_panel.plot([place] * 5, five(name, "town"), "o", color=COLOURS[place])
left.axhline(before, color="black", ls="--", lw=1, label="base")
left.set(ylabel="bits per byte of plain text", ylim=(0, None))
left.legend()
right_panel.set(ylabel="towns never asked for", ylim=(-0.03, 1.03))
for panel in (left, right_panel):
    panel.set(xticks=[0, 1], xticklabels=["dialogues alone", "with documents"], xlim=(-0.5, 1.5))

# %% [markdown]
# That is **catastrophic forgetting**: what is not rehearsed is lost, plain text first. To mix in some of the old data
# is the simplest repair, and large models are trained that way, too. It repairs more than the text: a fact that was only
# read, never asked for, can be answered if the model still has it *and* has learned the habit of answering.
#
# ## Predict, then turn one knob: questions that nobody can answer
#
# A user may ask for a person who does not occur in the story. **Write down a guess:** a model is trained with dialogues
# in which every question has an answer. What does it say? And if 5, 25 or 50 % of the questions about a story have none,
# and the right reply is "Nobody said ...", how many of these are still answered, and what does it cost?

# %%
shares = {"unknown 0.0": 0.0, "unknown 0.05": 0.05, "as it is": 0.25, "unknown 0.5": 0.5}
for name, share in shares.items():
    made_up, refused = five(name, "answered though nobody said"), five(name, "refused though told")
    print(f"{share:4.0%} without an answer: made up {made_up.mean():.2f}, "
          f"wrongly refused {refused.mean():.2f}")
never = five("unknown 0.0", "answered though nobody said")
claim("made up without such examples, the least of five seeds", never.min(), ">", 0.95)
half = five("unknown 0.5", "refused though told")
claim("wrongly refused with 50 % of such examples, the least of five seeds", half.min(), ">", 0.1)
claim("made up by the shipped model", about["metrics"]["answered though nobody said"], "<", 0.05)
claim("wrongly refused by the shipped model", about["metrics"]["refused though told"], "<", 0.05)

# %%
# Figure: two curves with five dots each over the share of questions without an answer in training, 0,
# 5, 25 and 50 percent: answers that are made up, and refusals of what was told.
_, ax = plt.subplots(figsize=(7, 3))
for colour, what, label in ((COLOURS[3], "answered though nobody said", "made up"),
                            (COLOURS[0], "refused though told", "wrongly refused")):
    for place, name in enumerate(shares):
        ax.plot([place] * 5, five(name, what), "o", ms=4, color=colour)
    ax.plot(range(4), [five(name, what).mean() for name in shares], color=colour, label=label)
ax.set(xticks=range(4), xticklabels=[f"{share:.0%}" for share in shares.values()], ylim=(-0.03, 1.03),
       xlabel="questions without an answer, in training", ylabel="share")
ax.legend();

# %% [markdown]
# <details><summary>Answer</summary>
#
# It answers always, without exception. A few examples hardly help; with 25 % a third is still made up, with 50 % a
# seventh, and then a fifth of what was told is refused. That is the price, and it rises as the error falls. Which share
# is best depends on what each error costs, and for whom. More training lowers both: the shipped model saw 25 % as well,
# for 1,200 batches in place of 200.
# </details>

# %%
sure = load_checkpoint("chat_sure")
for text, _ in house.exam(6, "where", 3, unknown=True):
    print(fill(text, 100))
    print(f"    without such examples: {replies(sure, words, [text])[0]}")
    print(f"    with them:             {replies(chat, words, [text])[0]}")

# %% [markdown]
# It is called **hallucination**, a word for something simple: the model says what an answer looks like, since it was
# never shown anything else. Our repair holds for one kind of question. The model has not learned what it does not know.
# Ask for a town that does not exist:

# %%
invented = ["Paris", "Atlantis", "Zorvul", "Quebo", "Xanix", "Hoddel", "Wummo", "Yarla"]
said = replies(chat, words, [f"Where does {town} lie?" for town in invented])
print("\n".join(said[:4]))
somewhere = sum("lies in the" in reply for reply in said)
claim("invented towns that it puts somewhere, of 8", somewhere, ">=", 5)

# %% [markdown]
# It does not even repeat the name: it answers about a town that it knows, or mixes two. Somebody has to choose when
# the model should say nothing, and each choice has its two errors: what it makes up, and what it refuses although it
# knew.
#
# ### A leak
#
# In its rows the model could see other dialogues. Now we give it one in which the person occurs, close it, and begin
# anew, with a story in which that person does not occur:

# %%
exam = house.exam(3, "where", 60, unknown=True)
fresh, leaky = [], []
for text, question in exam:
    there = f"{question.key} is in the attic."
    elsewhere = [(f"{there} Where is {question.key}?", there)]
    earlier, _ = template(words, elsewhere)                       # a dialogue of its own
    fresh.append(prompt(words, [], text))
    leaky.append(earlier + prompt(words, [], text))               # with a <begin> between the two

def answered(prompts):
    said = [words.decode(row) for row in write(chat, prompts)]
    return sum(not reply.startswith("Nobody") for reply in said) / len(said)

claim("answered though nobody said, alone", answered(fresh), "<", 0.1)
claim("answered after the other dialogue", answered(leaky), ">", 0.5)

# %% [markdown]
# To the model, `<begin>` is a mark like others, and few rows of the training made it matter who was in the dialogue
# before. If two users shared a row, one would be told what the other said. `Chat`, below, never mixes two conversations;
# in training, a mask in the attention can keep the dialogues of a row apart.
#
# ## Break it: a model that plays both speakers
#
# Two lines of the template look like details: that only answers are learned, and that each ends with `<end>`. Leave
# both out, train on everything, and let the model answer:

# %%
careless_model = load_checkpoint("chat_careless")
row = write(careless_model, [prompt(words, [], "Where does Norun lie?")], 60)[0]
print(fill("".join(words.shown(row)), 100))

# %% [markdown]
# The right answer, and then it asks the next question itself, answers it, and goes on for ever: it has learned
# dialogues, and a dialogue has two sides. **Write down a guess:** which of the two details stops it?

# %%
ways = {"neither": "neither", "mask alone": "no end", "end alone": "no mask", "mask and end": "as it is"}
for label, name in ways.items():
    print(f"{label:13} plays the user, too: {five(name, 'user speaks too').mean():.2f}   "
          f"where, exactly right: {five(name, 'where').mean():.2f}")
neither, repaired = five("neither", "user speaks too"), five("as it is", "user speaks too")
claim("plays both speakers without mask and end, the least of five seeds", neither.min(), ">", 0.8)
claim("plays both speakers with both, the most of five seeds", repaired.max(), "<", 0.05)
alone = five("no end", "where")
claim("exactly right with the mask alone, the best of five seeds", alone.max(), "<", 0.05)
gain = five("as it is", "town").mean() - five("no mask", "town").mean()
claim("towns never asked for: share that the mask adds to the end alone", gain, ">", 0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Either of them. With the mask alone, nobody has taught it to write a user's words; but nobody has taught it to stop
# either, so it goes on with something else, and not one answer is exactly right. `<end>` is what stops it. The mask then
# does what one expects of a loss that looks only at what matters: the same training answers more.
# </details>
#
# ## Talk to it
#
# `Chat` keeps the conversation: for each new message, everything that was said goes through the model again. It writes
# token by token; here the pieces of an answer as they come:

# %%
talk = Chat(chat, words)
for line in (story + "Who has the lamp?", "Ben gave the lamp to Eva. Where is the lamp?"):
    print("|".join(talk.stream(line)))
print(f"\nthe model has read: {''.join(words.shown(talk.seen))}")

# %% [markdown]
# (Ben cannot give the lamp to somebody in another room. Nobody taught the model to object.) It can read no more than
# its block of 256 tokens. When that is full, the oldest turns are forgotten, and with them the story:

# %%
talk = Chat(chat, words)
talk.say(story + "Where is Ben?")
for number in range(20):
    talk.say(f"What is {number % 10} + 3?")
print(f"{len(talk.turns)} turns later. Where is Eva? {talk.say('Where is Eva?')}")
claim("tokens of the last prompt", len(talk.seen), "<=", 256 - 48)
assert "attic" not in words.decode(talk.seen)

# %%
# Figure: a field with a question about two people in the house, and below it the answer and the
# tokens that the model has read.
def tell(words_of_yours):
    try:
        talk = Chat(chat, words)
        print(fill(talk.say(words_of_yours), 100))
        print(fill("it has read: " + "".join(words.shown(talk.seen)), 100))
    except ValueError as problem:
        print(problem)

first = "Tom is in the cellar. Liz is in the garage. Tom ran to the library. Where is Tom?"
sliders(tell, words_of_yours=first)

# %% [markdown]
# Type what you like. It has talked about twenty people, eight rooms and eight things; try a sentence that no story has,
# or a room that does not exist.
#
# ## In the wild
#
# Assistants begin like this. Their marks have names like `<|im_start|>`, the template is a small program that comes with
# the tokenizer, mask and packing are switches, and people and other models write the dialogues, often a hundred thousand
# or more. On a GPU:
#
# ```python
# from transformers import AutoModelForCausalLM, AutoTokenizer        # pip install transformers
#
# name = "HuggingFaceTB/SmolLM2-135M-Instruct"
# tokenizer = AutoTokenizer.from_pretrained(name)
# model = AutoModelForCausalLM.from_pretrained(name).to("cuda")
# turns = [{"role": "user", "content": "Ben is in the hall. Where is Ben?"}]
# print(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
# inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
# print(tokenizer.decode(model.generate(**inputs.to("cuda"), max_new_tokens=40)[0]))
# ```
#
# `trl.SFTTrainer` trains on such lists of turns, with `packing=True` and `assistant_only_loss=True` in its `SFTConfig`.

# %% [markdown]
# ## Recap
#
# 1. A base model continues. Dialogues teach it the habit of answering, and then it can say what it knew before.
# 2. A template makes one row of a dialogue, with marks that nobody can type; the loss counts the answers and their end.
# 3. With a world behind the stories, right is exact, and stands beside the most frequent answer.
# 4. What is not rehearsed is forgotten; some of the old data in the mixture repairs it.
# 5. A model that has always been given an answer always gives one. Examples of "nobody said" repair it where they apply.
#
# **What we left out.** Which of several right answers people prefer: the next step of an assistant's training.
#
# **Exercises:** [73_instruction_tuning](../exercises/73_instruction_tuning/73_instruction_tuning.ipynb). One more: teach it
# to refuse towns that it does not know, and measure how many it does know are refused. **Next**, [lesson
# 74](74_preferences.ipynb): from what is likely to what is wanted.
#
# ## Read on
#
# - L. Ouyang et al., *Training language models to follow instructions with human feedback* (2022),
#   [arXiv:2203.02155](https://arxiv.org/abs/2203.02155): this lesson is its first step.
# - J. Wei et al., *Finetuned language models are zero-shot learners* (2021),
#   [arXiv:2109.01652](https://arxiv.org/abs/2109.01652): families of tasks, some held out.
# - J. Weston et al., *Towards AI-complete question answering* (2015), [arXiv:1502.05698](https://arxiv.org/abs/1502.05698):
#   small worlds whose questions a program answers.
# - Z. Allen-Zhu & Y. Li, *Physics of language models: part 3.1, knowledge storage and extraction* (2023),
#   [arXiv:2309.14316](https://arxiv.org/abs/2309.14316): when a fact that was read can be asked for.
# - H. Zhang et al., *R-Tuning: instructing large language models to say "I don't know"* (2023),
#   [arXiv:2311.09677](https://arxiv.org/abs/2311.09677).
# - In the library: `data/house.py` (`story`, `ask`, `possible`), `chat.py` (`template`, `pack`, `chat_loss`, `Chat`).
