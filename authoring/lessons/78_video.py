# %% [markdown]
# # 78 · Pictures that remember: moving digits
#
# A film is many pictures, and something that pictures alone do not have: what was there must still be there in the next
# frame, a little further on. If a model draws each frame by itself, the digit is another one every time, at another
# place. Here the flow of lesson 64 draws twelve frames at once, and its network looks along time. It makes films of a digit
# that walks along a corridor and bounces off its ends, and it goes on with a film of which it has seen three frames. Because we made the
# world, we know where the digit must be in every frame, so we can measure whether the model keeps to the law. At the end you
# will have made the films below.
#
# **After this lesson you can**
# - turn a network for pictures into one for films, by attention and convolution along time;
# - continue a film from frames that are known, and measure it against two baselines and the truth;
# - show why frames drawn one by one flicker, and how errors grow in a long film.
#
# **You need** lessons [12](12_convnet.ipynb) (the judge), [51](51_attention.ipynb) (attention) and
# [64](64_flow_matching.ipynb) (flow matching). **It takes** 60 minutes to read and a minute to run. **How hard:** ••. All
# symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.claims import claim
from course_lib.data.moving import MovingDigits, bounce, draw
from course_lib.device import budget, seed, seeded
from course_lib.plots import COLOURS, diagram, film

# %%
from course_lib.video import bounces_obeyed, centres, constancy, copy_last, cut, named, nearest_course
from course_lib.video import roll_out, straight_on, velocity_error

films = draw(200, seeded(0), part="test")
model = load_checkpoint("video")
made = metadata("video")

# %%
# Figure: three films of twelve frames in strips, and below them the same films, moving side by side: a
# real one, one that the model made when it was asked for a 4, and one of which it got the first three
# frames of the real one.
asked = model.sample(1, 4, seeded(2))
continued = model.sample(1, known=films.x[:1, :3], generator=seeded(1))
film(torch.cat([films.x[:1], asked, continued]), ["real", "asked for a 4", "continued"])

# %% [markdown]
# Above, time goes from left to right. The third film shares its first three frames with the first one,
# and the model has never seen the others.
#
# ## A world of which everything is known
#
# A digit from our usual set, shrunk to 16 × 16 pixels, walks along a corridor of 16 × 32, by one or two pixels a frame to the
# right or left. At an end of the corridor it turns round. So we know for every frame where it is, and no film needs to be stored.

# %%
print(films)
print("columns of the first film's centre:", films.place[0, :, 0].tolist())
print("its speed at the start, in pixels a frame to the right:", films.speed[0, 0].item())

# %% [markdown]
# The left side of the digit walks between two walls, at 0 and at `far` = 16. Without walls it would have come to the place
# `way` = start + speed · frame. A wall is a mirror: to walk on behind it is the same as to walk back in front of it. After
# 2 · `far` pixels, there and back, everything repeats. So take the remainder `m` of `way` divided by 2 · `far`: up to the
# wall it is the place, and beyond it the place is 2 · `far` − `m`.

# %%
def my_bounce(way, far=16):
    m = way % (2 * far)                                           # in [0, 32), also for a negative way
    return torch.minimum(m, 2 * far - m)

print(my_bounce(torch.tensor([14, 15, 16, 17, 18, 33, -1])).tolist())
assert_close(my_bounce(torch.arange(-99, 99)), bounce(torch.arange(-99, 99)))

start, speed = films.place[:, 0] - 8, films.speed                 # (200, 1): left sides, and speeds
way = start + torch.arange(12) * speed                            # (200, 12)
assert_close(my_bounce(way) + 8, films.place[:, :, 0])            # the centre is 8 from the left side

# %%
# Figure: column of the centre over the frame, for four films: straight lines that turn round at the
# columns 8 and 24, drawn as dashed lines.
_, ax = plt.subplots(figsize=(5.6, 2.8))
for number, colour in zip((0, 2, 3, 5), COLOURS):
    ax.plot(films.place[number, :, 0], marker="o", ms=3, color=colour)
ax.axhline(8, color="0.6", linestyle="--")
ax.axhline(24, color="0.6", linestyle="--")
ax.set(xlabel="frame", ylabel="column of the centre (pixels)", ylim=(6, 26));

# %% [markdown]
# Each line is one digit, which turns round at the walls (dashed). Walls and law are nowhere written into the model: it will
# have to find them.
#
# ## How much of the future is known? By hand
#
# The speed cannot be seen in one frame. **Write down a guess:** how many frames does one need to know the whole film? There are
# 17 places and 4 speeds, so 68 ways to begin; we can look at all of them. While two courses that go on differently have begun
# alike, nobody can tell them apart. And what if a digit may also stand still?

# %%
def undecided(speeds, k):
    """How many beginnings of k frames there are, and those of them that go on in more than one way."""
    futures = {}
    for place in range(17):
        for v in speeds:
            course = my_bounce(place + v * torch.arange(12)).tolist()
            futures.setdefault(tuple(course[:k]), set()).add(tuple(course))
    return len(futures), [begun for begun, ways in futures.items() if len(ways) > 1]

for speeds in ([-2, -1, 1, 2], [-2, -1, 0, 1, 2]):
    for k in (1, 2, 3):
        number, which = undecided(speeds, k)
        shown = which[-2:] if k > 1 else []
        print(f"speeds {speeds}: {number} beginnings of {k}, {len(which)} of them open", *shown)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Two. One frame leaves every beginning open; two show the speed, and where the walls are is the same in all films. If digits may stand
# still, it takes three: with its left side at 15 in two frames, a digit rests, or it went, from one frame to the next, one pixel to
# the wall and one back. So three frames, which we shall give to the model, determine a film, and what the model makes of it can be
# compared with the truth.
# </details>
#
# ## What we will build

# %%
# Figure: a diagram. A film of noise (n, 12, 1, 16, 32) is cut into n * 12 frames, which go through the
# U-Net. After each of its five blocks, a layer looks along time, at the twelve frames of a film. Times,
# one a frame, and the label go into the U-Net. Out comes a velocity for the whole film.
noise_box = "film, partly noise\n(n, 12, 1, 16, 32)"
frames_box = "n · 12 frames\n(1, 16, 32)"
block_box = "block of the U-Net\neach frame alone"
time_box = "look along time\nall frames of a film"
velocity_box = "velocity\n(n, 12, 1, 16, 32)"
times_box = "times (n, 12)\nand label (n,)"
boxes = {noise_box: (0, 1), frames_box: (1.5, 1), block_box: (3, 1), time_box: (4.6, 1),
         velocity_box: (6.2, 1), times_box: (3, 2), "five times": (3.8, 0.3)}
arrows = [(noise_box, frames_box), (frames_box, block_box), (block_box, time_box),
          (time_box, velocity_box), (times_box, block_box), (time_box, "five times"),
          ("five times", block_box)]
diagram(boxes, arrows, {block_box: COLOURS[0], time_box: COLOURS[2]}, size=(9.5, 3.2));

# %% [markdown]
# Blue is the U-Net of lesson 61, unchanged but for its size: squares of 4 × 4 pixels become channels, so that its maps are
# 4 × 8 and 2 × 4. Green is new.
#
# ## Looking along time
#
# For the blocks, frames are a batch: they know nothing of each other. Between them we put the frames of a film side by side
# again: T = 12 frames of L places with C numbers each. First each place is mixed with itself one frame before and one frame
# after, by a convolution of width three. Then all T · L places are the tokens of one transformer block (lesson 51), so that each can
# ask every place of every frame: where was this stroke before? Two sets of learned vectors tell a token its frame, `when`, and its
# place, `where`. (Only the three blocks on the smallest maps get this second step; the two others get the convolution alone.)

# %%
layer = model.network.middle                                      # a block, and what looks along time
x = torch.randn(2 * 12, 96, 2, 4, generator=seeded(0))            # two films at the smallest map

def my_look_along_time(x):
    film = x.view(2, 12, 96, 8)                                   # n, T, C, L
    h = torch.nn.functional.silu(layer.near_norm(film.transpose(2, 3)))       # (n, T, L, C)
    mixed = layer.near(h.permute(0, 2, 3, 1).reshape(2 * 8, 96, 12))          # along time: (n * L, C, T)
    film = film + mixed.view(2, 8, 96, 12).permute(0, 3, 2, 1)
    tokens = film.transpose(2, 3) + layer.when + layer.where      # (n, T, L, C)
    tokens = tokens.reshape(2, 12 * 8, 96)
    found = layer.look[0](tokens) - tokens                        # what the transformer block adds
    return (film + found.view(2, 12, 8, 96).transpose(2, 3)).reshape(x.shape)

with torch.no_grad():
    time, none = torch.full((24,), 0.5), torch.full((24,), 10)
    embedded = model.network.embed(time, none)                    # (24, 128)
    assert_close(my_look_along_time(layer.block(x, embedded)), layer(x, embedded), atol=1e-3, rtol=1e-3)

# %% [markdown]
# Convolution and transformer block end in weights that are zero at the start. So a network that has just been given these layers
# draws what it drew before, and training decides how much of them it uses. The library wraps the blocks of any of our networks:

# %%
from course_lib.video import across_frames

alone = load_checkpoint("video_alone")                            # draws each frame alone
noise = torch.randn(2, 12, 1, 16, 32, generator=seeded(0))
beginner = load_checkpoint("video_alone")
across_frames(beginner.network, n_frame=12)
with torch.no_grad():
    assert_close(alone(noise, 0.5, 3), beginner(noise, 0.5, 3))
print(type(beginner.network.middle).__name__, "around", type(beginner.network.middle.block).__name__)

# %% [markdown]
# ## A flow over films
#
# Nothing is new in the flow itself: a film is a point with 12 · 16 · 32 coordinates, and the road from noise to film is straight
# (lesson 64). All frames of a film get the same time $t$, with one exception. Frames that are *known* stand at $t = 1$, where
# there is no noise. The network is told the time of each frame, so it sees which frames it can trust (Höppe et al., 2022). In
# seven of ten training films the first one to six frames are known, and the loss counts the other frames alone.
#
# At which times shall we train? A digit fills hundreds of pixels, and they agree: it shines through a lot of noise. At $t = 0.25$ a
# new frame itself shows the network where its digit is, and nobody needs to know the law. The law is learned only where the
# new frames show nothing, close to $t = 0$. So the odds $t : (1 - t)$ of lesson 64's times are divided by 3, and in half of the films
# with known frames by 30.

# %%
def my_video_loss(model, x, y, k, t, eps):
    """k: so many frames are known (n,), t (n,), eps noise like x"""
    x = 2 * x - 1
    known = torch.arange(12) < k[:, None]                         # (n, 12)
    t = torch.where(known, 1.0, t[:, None])                       # (n, 12): a time for each frame
    road = t[:, :, None, None, None]
    velocity = model((1 - road) * eps + road * x, t, y)
    error = (velocity - (x - eps)).square().mean(dim=(2, 3, 4))   # (n, 12)
    return error[~known].mean()

def darker(t, odds):
    """Times whose odds are divided: t : (1 - t) becomes t : odds * (1 - t)."""
    return t / (t + odds * (1 - t))

# %%
from course_lib.video import video_loss

with torch.no_grad():
    seed(3)
    theirs = video_loss(model, films.x[:8], films.y[:8, 0], drop=0, share=1, most=6)["loss"]
    seed(3)
    torch.rand(8)                                                 # decides which labels are left out
    k = torch.randint(1, 7, (8, 1))[:, 0]
    torch.rand(8, 1)                                              # decides which films have known frames
    odds = torch.where(torch.rand(8, 1)[:, 0] < 0.5, 30, 3)
    eps = torch.randn(8, 12, 1, 16, 32)
    t = darker(torch.randn(8).sigmoid(), odds)
    mine = my_video_loss(model, films.x[:8], films.y[:8, 0], k, t, eps)
assert_close(mine, theirs)

# %% [markdown]
# To continue a film, we hold the known frames while the others come out of the noise. That is a wrapper around the model, as
# guidance was: the sampler of lesson 64 does not notice. And guidance (lesson 63) works here, too. The same network can be asked
# without known frames: then the first frames are noisy like the others, and go their own way. What the known frames change is the
# difference of both answers, and we can take it more than once (Song et al., 2025, call it **history guidance**).

# %%
from course_lib.flow import midpoint
from course_lib.video import holding

def my_holding(model, known, scale):
    k = known.shape[1]
    def velocity(x, t):
        begun = torch.cat([known, x[:, k:]], dim=1)
        times = t[:, None].repeat(1, x.shape[1])                  # (n, T)
        times[:, :k] = 1                                          # no noise
        told, free = model(begun, times), model(x, t)
        new = free[:, k:] + scale * (told - free)[:, k:]
        return torch.cat([free[:, :k], new], dim=1)               # a beginning of its own
    return velocity

known = 2 * films.x[:2, :3] - 1
start = torch.randn(2, 12, 1, 16, 32, generator=seeded(1))
mine = midpoint(my_holding(model, known, 2), start, 2)
assert_close(mine, midpoint(holding(model, known, 2), start, 2))

# %% [markdown]
# At the end the known frames take the place of the first ones.
#
# ## Train: who can draw learns to move
#
# `alone` learned to draw single frames, at any place, in 800 batches. `beginner` is the same network with the new layers,
# which do nothing yet. A few seconds with four films a batch show how training begins. The mean step is how far the centre
# moves from frame to frame; in real films it is about 1.5 pixels.

# %%
from course_lib.train import fit
from course_lib.video import muon_video

def first_films(model):
    """Six films in few steps, and how far their centres move from frame to frame."""
    made_films = model.sample(6, torch.arange(6), seeded(0), steps=5)
    return made_films, centres(made_films).diff(dim=1).abs().mean().item()

seed(0)
beginner = load_checkpoint("video_alone")
across_frames(beginner.network, n_frame=12)
earlier, step_before = first_films(beginner)
fit(beginner, video_loss, MovingDigits(4), steps=budget(cpu=80, gpu=2_000), optimizer=muon_video,
    warmup=10, label="films")
later, step_after = first_films(beginner)
claim("mean step before, in pixels", step_before, ">", 3)
claim("mean step after, as a share of that before", step_after / step_before, "<", 0.7)

# %% tags=["nbval-ignore-figure"]
# not compared: films of a network that was trained here
# Figure: a film before these 80 steps and one after them, both asked for a 3, in strips and moving.
film(torch.stack([earlier[3], later[3]]), ["before", "80 steps later"])

# %% [markdown]
# The network first learns that a digit stays near where it was; it is not the same digit yet. The shipped model trained for
# 10,000 batches of eight films, a quarter of an hour. Here is what it could do on the way, in films that it continued from
# three frames. Three numbers judge a film. Its **constancy**: is it one digit in all twelve frames? (The judge of lesson 12 reads
# each frame, in which the digit is cut out and enlarged.) Its **velocity error**: how far the movement from each frame to the next
# is from the right one, in pixels. And of the moments when the digit should turn round, the share in which it does.

# %% tags=["nbval-ignore-output"]
# not compared: measured in training
print("  steps  minutes of one core   one digit in all frames   velocity error   bounces obeyed")
for step, seconds, scores in made["stages"]:
    one = scores["continued"]
    print(f"{step:7,} {seconds / 60:20.1f} {one['constancy']:25.2f} {one['velocity']:16.2f} "
          f"{one['bounces']:16.2f}")

# %% [markdown]
# One number alone deceives: after 200 batches the digit jumps about, and so it goes the right way at half of the walls.
#
# ## Films from a label
#
# A label alone does not say which course is the right one. So we compare with the lawful course that is nearest to the centres,
# among all starts and speeds.

# %%
y = torch.arange(40) % 10
drawn = model.sample(40, y, seeded(0))
names = named(drawn)
places = centres(drawn)
claim("films with one digit in all twelve frames", constancy(names), ">", 0.7)
claim("frames with the digit that was asked for", (names == y[:, None]).double().mean(), ">", 0.9)
off_course = velocity_error(places, nearest_course(places))
claim("error of velocity against the nearest lawful course", off_course, "<", 0.8)
labelled = [scores["from a label"] for scores in made["trials"]]  # the same, for five seeds
constant = min(one["constancy"] for one in labelled)
claim("one digit in all frames, the worst of five seeds", constant, ">", 0.75)
off_course = max(one["velocity"] for one in labelled)
claim("error of velocity, the worst of five seeds", off_course, "<", 0.7)

# %%
# Figure: five films, asked for the digits 0, 2, 5, 7 and 8, in strips and moving.
wishes = [0, 2, 5, 7, 8]
film(drawn[wishes], [f"a {digit}" for digit in wishes])

# %% [markdown]
# Nobody told the model how fast, where and in which handwriting: it sampled all that. Some films still change their digit
# on the way, or slip off their course; real films score 1 and 0.
#
# ## Films that go on
#
# Now the first three frames are given, of digits that no training film had. The film is determined, so every new frame can be
# compared with the truth. Two baselines need no training: the last frame is *copied*, or it goes *straight on* as it did between
# the last two known frames, until it stands at the wall.

# %%
some, true = films.x[:40], films.place[:40, :, 0]
ways = {"real": some,
        "model": model.sample(40, known=some[:, :3], generator=seeded(0)),        # history guidance 2
        "copied": copy_last(some[:, :3], 12),
        "straight on": straight_on(some[:, :3], 12)}
error, obeyed = {}, {}
for name, x in ways.items():
    error[name] = velocity_error(centres(x), true, start=3)
    obeyed[name] = bounces_obeyed(centres(x), true, start=3)
claim("error of velocity, model, in pixels a frame", error["model"], "<", 0.45)
claim("the same, straight on", error["straight on"], ">", 0.7)
claim("the same, copied", error["copied"], ">", 1.3)
claim("bounces obeyed by the model", obeyed["model"], ">", 0.6)
claim("bounces obeyed by straight on", obeyed["straight on"], "==", 0)
assert error["real"] < 0.001 and obeyed["real"] == 1

# %%
# Figure: one film in four ways: real, continued by the model, copied, straight on; in strips and moving.
turned = (true.diff(dim=1).sign().diff(dim=1) != 0)[:, 4:].any(dim=1)         # in a new frame
miss = (centres(ways["model"]) - true).abs().mean(dim=1)
number = miss.where(turned, torch.tensor(99.0)).argmin()          # of these, the one that went best
film(torch.stack([x[number] for x in ways.values()]), list(ways))

# %%
# Figure: the column of the centre over the frame, for the same film: the real course as a wide grey
# line, the model upon it, the copied film as a level line, straight on as a line that ends at the wall.
_, ax = plt.subplots(figsize=(5.6, 2.8))
for (name, x), colour, width in zip(ways.items(), ["0.75", *COLOURS], (7, 2, 2, 2)):
    ax.plot(centres(x)[number], color=colour, linewidth=width, label=name)
ax.axvline(2, color="0.6", linestyle=":")
ax.set(xlabel="frame", ylabel="column of the centre (pixels)")
ax.legend();

# %% [markdown]
# To the left of the dotted line the frames are known. We chose a film that went well. "Straight on" is right until the wall, and
# wrong afterwards; the model turns round. Measured with five seeds and forty films each:

# %% tags=["nbval-ignore-output"]
# not compared: measured shares
print("                       one digit   right digit   velocity error   bounces obeyed")
for name, scores in made["baselines"].items():
    print(f"{name:20} {scores['constancy']:11.2f} {scores['right']:13.2f} {scores['velocity']:16.2f} "
          f"{scores['bounces']:16.2f}")
for n, scores in enumerate(made["trials"]):
    one = scores["continued"]
    print(f"model, seed {n} {one['constancy']:19.2f} {one['right']:13.2f} {one['velocity']:16.2f} "
          f"{one['bounces']:16.2f}")

# %%
going_on = [scores["continued"] for scores in made["trials"]]
claim("one digit in all frames, the worst of five seeds",
      min(one["constancy"] for one in going_on), ">", 0.85)
claim("error of velocity, the worst of five seeds", max(one["velocity"] for one in going_on), "<", 0.35)
claim("bounces obeyed, the worst of five seeds", min(one["bounces"] for one in going_on), ">", 0.6)

# %% [markdown]
# The model keeps the digit in nine films of ten or more, it is a quarter of a pixel off in each step, and it turns round at
# three walls of four, which no baseline ever does. The table of its training shows what took longest: after 4,000 batches seven
# films of ten kept their digit, and most ran past the walls; the law came in the second half.
#
# What is history guidance worth? The same forty films with other scales; 1 is no guidance:

# %%
by_scale = {1.0: made["hold"]["1.0"], 1.5: made["hold"]["1.5"], 2.0: going_on[0], 3.0: made["hold"]["3.0"]}
for scale, one in by_scale.items():
    print(f"scale {scale}: one digit in all frames {one['constancy']:.2f}, "
          f"right digit {one['right']:.2f}, error of velocity {one['velocity']:.2f}")
gained = by_scale[3.0]["constancy"] - by_scale[1.0]["constancy"]
claim("films with one digit, scale 3 minus scale 1", gained, ">", 0.05)
claim("error of velocity, scale 3 as a multiple of scale 1",
      by_scale[3.0]["velocity"] / by_scale[1.0]["velocity"], ">", 1.3)

# %% [markdown]
# As ever with guidance, it is a trade: what is asked for, here the digit, is kept better, and the motion suffers.
#
# ### One frame, many futures
#
# From a single frame the future is open, and a flow samples from what is possible:

# %%
# Figure: four films that begin with the same frame of a digit, in strips and moving: they go different
# ways.
one = films.x[7:8, :1]
futures = model.sample(4, known=one.expand(4, -1, -1, -1, -1), generator=seeded(3))
ends = centres(futures)[:, -1]
claim("distance between the ends furthest apart, in pixels", ends.max() - ends.min(), ">", 2)
film(futures, [f"future {k}" for k in range(1, 5)])

# %% [markdown]
# A network that was trained to guess the next frames with squared error would show the mean of all of these, a blur.
#
# ### Who looks where in time
#
# The attention gives each place a share for every place of every frame. We add up the shares of each frame while films are
# continued from three frames, and take the mean over places, heads and steps.

# %%
from course_lib.transformer import attention_weights

def shares_of(block, films):
    seen = []
    def look(module, inputs):
        q, k, _ = module.heads(inputs[0])                         # (n, heads, 12 * 8, 24)
        weights = attention_weights(q, k).mean((0, 1))            # (96, 96): between all places
        seen.append(weights.view(12, 8, 12, 8).sum(3).mean(1))    # (12, 12): between frames
    hook = block.look[0].attn.register_forward_pre_hook(look)
    model.sample(len(films), known=films[:, :3], generator=seeded(0), steps=4, hold=1)
    hook.remove()
    return torch.stack(seen).mean(0)

blocks = ("down2", "middle", "up2")
shares = {name: shares_of(getattr(model.network, name), films.x[:8]) for name in blocks}
for share in shares.values():
    assert_close(share.sum(1), torch.ones(12))                    # each frame gives away 1 in all
    claim("share of the known frames, seen from the others; evenly it were 0.25",
          share[3:, :3].sum(1).mean(), ">", 0.35)

# %%
# Figure: three maps of 12 x 12 frames: how much each frame, a row, looks at each frame, a column, in the
# three blocks with attention along time; dark is much. A line after the third row and column separates
# the known frames.
_, panels = plt.subplots(1, 3, figsize=(9, 3.2))
for panel, (block_name, share) in zip(panels, shares.items()):
    panel.imshow(share)
    panel.axhline(2.5, color=COLOURS[3], linewidth=1)
    panel.axvline(2.5, color=COLOURS[3], linewidth=1)
    panel.set(title=block_name, xlabel="looked at (frame)", ylabel="looking (frame)")

# %% [markdown]
# The darker, the larger the share. In all three blocks the known frames, left of the line, get far more than an even share, and
# the first of them the least. At the other frames there is less to see: in the first steps these are noise.
#
# ## Predict, then turn one knob: how many frames are known
#
# **Write down a guess:** with 1, 2, 3 and 6 known frames, how large is the error of velocity over the new frames? You know from
# the enumeration what can be known.

# %%
for k, scores in made["known"].items():
    print(f"{k} known: error of velocity {scores['velocity']:.2f}, "
          f"bounces obeyed {scores['bounces']:.2f}, right digit {scores['right']:.2f}")
claim("error with one frame, as a multiple of that with two",
      made["known"]["1"]["velocity"] / made["known"]["2"]["velocity"], ">", 2)
claim("error with two frames, as a multiple of that with six",
      made["known"]["2"]["velocity"] / made["known"]["6"]["velocity"], "<", 2)

# %% [markdown]
# <details><summary>Answer</summary>
#
# With one frame the speed is unknown; the model samples one, and the velocities of two random courses from one place differ by more
# than a pixel on average. With the second frame everything is known that can be known, and the error falls to less than a third. More
# frames add little to the course: what remains are slips in drawing.
# </details>
#
# ## Break it: one by one
#
# Back to `alone`, the network before it looked along time. It knows the label, and it gets another noise for each frame.

# %%
flicker = alone.sample(20, torch.arange(20) % 10, seeded(0))
step = centres(flicker).diff(dim=1).abs().mean()
claim("films with one digit in all frames, one by one", constancy(named(flicker)), ">", 0.7)
claim("mean step from frame to frame, one by one, in pixels", step, ">", 3.5)
claim("mean step in real films", centres(films.x).diff(dim=1).abs().mean(), "<", 1.6)

def change(x):
    """How much the digit itself, cut out at its centre, changes from frame to frame."""
    return cut(x).diff(dim=1).abs().mean().item()

claim("change of the digit, one by one, as a multiple of that in our films",
      change(flicker) / change(drawn), ">", 1.5)

# %%
# Figure: three films whose frames were drawn one by one, for the labels 2, 3 and 4, in strips and
# moving.
film(flicker[2:5], ["a 2, one by one", "a 3", "a 4"])

# %% [markdown]
# Every frame shows the digit that was asked for, so constancy is high, and yet this is no film: another hand writes it each time,
# at another place. **Write down a guess:** what happens if all frames get the *same* noise?

# %%
# Figure: one film of frames drawn one by one from the same noise.
from functools import partial

same = torch.randn(1, 1, 1, 16, 32, generator=seeded(4)).expand(1, 12, -1, -1, -1)
label = partial(alone, y=4)
still = (midpoint(label, same, 8) / 2 + 0.5).clamp(0, 1)
apart = (still[:, 0] - still[:, -1]).abs().max()
claim("largest difference between the first frame and the last", apart, "<", 1e-3)
film(still, ["one noise"])

# %% [markdown]
# <details><summary>Answer</summary>
#
# The flow is deterministic: one noise, one picture, twelve times. The flicker is gone, and with it the motion.
# </details>
#
# ## Break it: a long film
#
# The model draws twelve frames. For longer films, the last frames of a piece become the first, known frames of the next. From
# then on the model believes its own mistakes. We make films of 36 frames that begin with nine real ones; each piece keeps 1, 2, 3
# or 6 frames of the one before.

# %%
# Figure: on the left the share of films with the right digit over the frame, on the right the error of
# velocity, each for pieces that keep 1, 2, 3 or 6 frames.
_, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
for (keep, scores), colour in zip(made["rolled"].items(), COLOURS):
    left.plot(range(36), scores["right"], color=colour, label=f"keeps {keep}")
    smooth = torch.tensor(scores["velocity"]).unfold(0, 5, 1).mean(1)         # mean of five steps
    right.plot(range(3, 34), smooth, color=colour)
left.set(xlabel="frame", ylabel="films with the right digit", ylim=(0, 1.05))
right.set(xlabel="frame", ylabel="error of velocity (pixels)")
left.legend();

# %%
late = {keep: sum(scores["velocity"][24:]) / 11 for keep, scores in made["rolled"].items()}
kept = {keep: sum(scores["right"][24:]) / 12 for keep, scores in made["rolled"].items()}
for keep in late:
    print(f"keeps {keep}: in the last twelve frames, velocity error {late[keep]:.2f}, "
          f"right digit {kept[keep]:.2f}")

lost = late["1"] / late["6"]
claim("error where one frame is kept, as a multiple of that where six are", lost, ">", 3)
claim("error where two are kept, as a multiple", late["2"] / late["6"], ">", 1.3)
claim("right digits, the least of the four", min(kept.values()), ">", 0.9)

# %%
# Figure: a film of 36 frames whose pieces keep six frames, every third frame in a strip, and moving.
long = roll_out(model, films.x[9:10, :6], 36, seeded(1), keep=6)
film(long[:, ::3], ["every third frame"])

# %% [markdown]
# The digit survives. But with one kept frame the speed is sampled anew in every piece, and soon the course has nothing to do with
# the true one. Two frames hold the course, and still it drifts: a small error of one piece is the truth of the next. With more
# frames such errors average out a little, but never wholly. **Diffusion forcing** (Chen et al., 2024) gives every frame of a
# training film an amount of noise of its own, so that the model learns not to trust what it is given blindly.
#
# ## In the wild
#
# Models of films are models of pictures that learned to look along time. AnimateDiff puts such layers into a Stable Diffusion
# that already draws, and trains only them (Guo et al., 2023, [arXiv:2307.04725](https://arxiv.org/abs/2307.04725)); its `MotionAdapter` holds our
# green boxes. Newer models let all
# places of all frames attend to each other, in latents that are compressed in time as well. On a GPU:
#
# ```python
# import torch
# from diffusers import AnimateDiffPipeline, MotionAdapter     # pip install diffusers transformers
# from diffusers.utils import export_to_gif
#
# adapter = MotionAdapter.from_pretrained("guoyww/animatediff-motion-adapter-v1-5-2")
# pipe = AnimateDiffPipeline.from_pretrained("SG161222/Realistic_Vision_V5.1_noVAE", motion_adapter=adapter)
# frames = pipe.to("cuda")("a ball that bounces", num_frames=16).frames[0]
# export_to_gif(frames, "ball.gif")
# ```

# %% [markdown]
# ## Recap
#
# 1. A film is one point, and one flow draws all its frames. For the network's blocks, frames are a batch.
# 2. Between blocks each place looks along time: at its neighbours by a convolution, at all places of all frames by attention.
# 3. A known frame is a frame at time 1. So one model makes films from labels and continues films, by a wrapper; guidance
#    leads away from what it would draw without them.
# 4. Three frames determine our films, which an enumeration proves. So velocities and bounces can be compared with a truth.
# 5. Frames one by one flicker; films in pieces drift, the less the more frames a piece keeps.
#
# **What we left out.** Cameras that move, things that hide each other, sound. Latents compressed in time. Two digits in one film:
# `draw(n_digit=2)` makes them.
#
# **Exercises:** [78_video](../exercises/78_video/78_video.ipynb). One more: ask the model to continue a film of two digits, of
# which it has never seen one.
# **Next**, [lesson 81](81_synthetic_data.ipynb): what generated data is good for, and models that are trained on models.
#
# ## Read on
#
# - J. Ho et al., *Video diffusion models* (2022), [arXiv:2204.03458](https://arxiv.org/abs/2204.03458): attention in space, then in
#   time; long films in pieces.
# - T. Höppe et al., *Diffusion models for video prediction and infilling* (2022),
#   [arXiv:2206.07696](https://arxiv.org/abs/2206.07696): known frames without noise.
# - B. Chen et al., *Diffusion forcing* (2024), [arXiv:2407.01392](https://arxiv.org/abs/2407.01392): a time of its own for every
#   frame, against drift in long films.
# - V. Voleti, A. Jolicoeur-Martineau & C. Pal, *MCVD* (2022), [arXiv:2205.09853](https://arxiv.org/abs/2205.09853): one model that
#   predicts, fills in and invents.
# - K. Song et al., *History-guided video diffusion* (2025), [arXiv:2502.06764](https://arxiv.org/abs/2502.06764): guidance by known
#   frames.
# - N. Srivastava, E. Mansimov & R. Salakhutdinov, *Unsupervised learning of video representations using LSTMs* (2015),
#   [arXiv:1502.04681](https://arxiv.org/abs/1502.04681): where moving digits come from.
# - In the library: `video.py` (`AcrossFrames`, `Video`, `holding`, `roll_out`), `data/moving.py`, `plots.py` (`film`).
