"""The checks of exercise 78: courses between walls, continuing a film, histories of places, steps that are right."""

import torch
from torch import Tensor

from course_lib.checks import EULER_SLIPS, Implementation, Measurement, Mistake, kind, rand

# --- 1


def _courses(start, speed, T, far, clock=torch.arange, period=lambda far: 2 * far,
             within=lambda way, period: way % period, fold=lambda m, far: torch.minimum(m, 2 * far - m),
             walk=lambda speed, t: speed[:, None] * t, begin=lambda start: start[:, None]) -> Tensor:
    way = begin(start) + walk(speed, clock(T))                                  # (n, T)
    return fold(within(way, period(far)), far)


def _one_bounce(start, speed, T, far):
    way = start[:, None] + speed[:, None] * torch.arange(T)
    way = torch.where(way > far, 2 * far - way, way)
    return torch.where(way < 0, -way, way)


def _step_by_step(start, speed, T, far, fold):
    """Frame after frame, as one would simulate it: fold says where a ball is that has left the corridor."""
    places, way = [start], speed
    for _ in range(T - 1):
        after = places[-1] + way
        places.append(fold(after, far))
        way = torch.where((after <= 0) | (after >= far), -way, way)
    return torch.stack(places, 1)


def _corridors(g: torch.Generator) -> list[tuple]:
    """Long enough for several bounces, in both directions, and from the walls; T is larger than n and smaller."""
    at_walls = torch.tensor([0, 4, 2, 0]), torch.tensor([1, -3, 0, -2])
    cases = [(torch.tensor([3]), torch.tensor([2]), 6, 4), (*at_walls, 7, 4)]
    for n, T, far in ((3, 9, 5), (4, 12, 3), (5, 4, 7), (2, 15, 16)):
        start = torch.randint(1, far, (n,), generator=g)
        speed = torch.randint(1, far + 3, (n,), generator=g) * torch.tensor([1, -1, -1, 1, -1])[:n]
        cases.append((start, speed, T, far))
    return cases


courses = Implementation(
    "courses",
    right=_courses,
    cases=_corridors,
    slips=[
        ("yours walks through the walls: it is not folded back", dict(
            within=lambda way, period: way, fold=lambda m, far: m)),
        ("yours stops at the wall: it shall come back", dict(
            within=lambda way, period: way, fold=lambda m, far: m.clamp(0, far))),
        ("yours comes in again at the other wall: a wall is a mirror, and no door", dict(
            period=lambda far: far), dict(period=lambda far: far + 1, fold=lambda m, far: m),
         dict(fold=lambda m, far: torch.where(m > far, m - far, m))),
        ("there and back is 2 * far: after that everything repeats, and yours repeats after {}",
         ("2 * far + 1", dict(period=lambda far: 2 * far + 1)),
         ("2 * far + 2", dict(period=lambda far: 2 * far + 2, fold=lambda m, far: torch.minimum(m, 2 * far + 1 - m))),
         ("2 * far - 1", dict(period=lambda far: 2 * far - 1))),
        ("the way back is missing: m beyond far stands for 2 * far - m", dict(fold=lambda m, far: m),
         dict(fold=lambda m, far: m.clamp(max=far))),
        ("yours turns round once at each wall, and then walks on through: take the way modulo 2 * far first",
         _one_bounce),
        ("a wall sends a ball back within the frame: yours {}",
         ("turns it round once in a frame at most, and a speed larger than far may need more", lambda *given:
          _step_by_step(*given, lambda place, far: torch.where(place > far, 2 * far - place, place).abs())),
         ("ends the step at the wall, and what is left of the step is lost", lambda *given: _step_by_step(
             *given, lambda place, far: place.clamp(0, far)))),
        ("a negative way keeps its sign in yours (fmod or a remainder by hand): -1 stands for 1", dict(
            within=lambda way, period: torch.fmod(way, period))),
        ("frame 0 is the start itself: yours {}",
         ("is one frame late", dict(clock=lambda T: torch.arange(1, T + 1))),
         ("is one frame early", dict(clock=lambda T: torch.arange(-1, T - 1)))),
        ("this is the distance from the middle or the other wall, and not the place: {}",
         ("yours is far minus the place", dict(fold=lambda m, far: far - torch.minimum(m, 2 * far - m))),
         ("yours is twice as far", dict(fold=lambda m, far: 2 * torch.minimum(m, 2 * far - m)))),
        ("the speed has {}", ("no sign in yours", dict(walk=lambda speed, t: speed.abs()[:, None] * t)),
         ("the other sign in yours", dict(walk=lambda speed, t: -speed[:, None] * t)),
         ("the same value, the first, for all balls in yours", dict(walk=lambda speed, t: speed[:1, None] * t)),
         ("no part in yours: balls move by speed in each frame", dict(walk=lambda speed, t: t + 0 * speed[:, None]))),
        ("start is {}", ("missing", dict(begin=lambda start: 0 * start[:, None])),
         ("that of the first ball for all", dict(begin=lambda start: start[:1, None]))),
    ],
    hints=("Write down one ball by hand: start 3, speed 2, walls at 0 and 4. What are the first six places?",
           "The way without walls is start + speed * t for all t at once, (n, 1) + (n, 1) * (T,). Its rest modulo "
           "2 * far is m; where m is beyond far, the ball is on its way back, at 2 * far - m.",
           "m = (start[:, None] + speed[:, None] * torch.arange(T)) % (2 * far)\n"
           "torch.minimum(m, 2 * far - m)"))

# --- 2


class _Velocity:
    """A stand-in for a trained model: smooth in x and t, and every frame depends on all frames and all times."""

    def __init__(self, g: torch.Generator, T: int):
        self.A, self.B = rand(g, T, T), rand(g, T, T)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        if x.shape[1] != len(self.A):
            raise Mistake(f"model wants films of {len(self.A)} frames, known and new ones together, and got "
                          f"{x.shape[1]} frames")
        if not isinstance(t, Tensor) or t.shape != x.shape[:2]:
            raise Mistake(f"model wants a time for each frame of each film, a tensor of shape {tuple(x.shape[:2])}, "
                          f"and got {kind(t)}: torch.full makes one of a number")
        seen = torch.einsum("st,nt...->ns...", self.A, x).tanh()
        return seen + (t @ self.B)[:, :, None, None, None]


def _go_on(model, known, noise, steps, clock=lambda i, n: i / n, told=lambda t: torch.ones_like(t),
           move=lambda v, n: v / n, count=lambda n: n, begin=lambda known, noise: known,
           hold=lambda known, moved: known, last=lambda known, x: x) -> Tensor:
    k = known.shape[1]
    x = torch.cat([begin(known, noise[:, :k]), noise[:, k:]], 1)
    for i in range(count(steps)):
        t = torch.full(x.shape[:2], clock(i, steps))
        t = torch.cat([told(t[:, :k]), t[:, k:]], 1)
        x = x + move(model(x, t), steps)
        x = torch.cat([hold(known, x[:, :k]), x[:, k:]], 1)
    return last(known, x)


def _known_last(model, known, noise, steps):
    k = known.shape[1]
    x = torch.cat([noise[:, k:], known], 1)
    for i in range(steps):
        t = torch.full(x.shape[:2], i / steps)
        t[:, -k:] = 1
        x = torch.cat([(x + model(x, t) / steps)[:, :-k], known], 1)
    return x


def _begun(g: torch.Generator) -> list[tuple]:
    return [(_Velocity(g, T), rand(g, n, k, C, H, W), rand(g, n, T, C, H, W), steps) for n, T, k, C, H, W, steps in
            ((1, 2, 1, 1, 1, 1, 2), (3, 5, 2, 1, 2, 3, 4), (2, 4, 3, 3, 2, 2, 3), (3, 6, 1, 1, 3, 2, 1),
             (4, 5, 3, 2, 1, 2, 5))]


go_on = Implementation(
    "go_on",
    right=_go_on,
    cases=_begun,
    slips=[
        ("known frames have no noise, so their time is 1: yours {}",
         ("have the time of the others", dict(told=lambda t: t)), ("have the time 0", dict(told=torch.zeros_like)),
         ("have the time 1 - t", dict(told=lambda t: 1 - t))),
        ("known frames stay as they are: yours move along the velocity, too", dict(hold=lambda known, moved: moved),
         dict(hold=lambda known, moved: moved, last=lambda known, x: torch.cat([known, x[:, known.shape[1]:]], 1))),
        ("the known frames must be in place from the start: in your first step the network sees noise there",
         dict(begin=lambda known, noise: noise)),
        ("the network never sees the known frames in yours: they are put in at the end only", dict(
            begin=lambda known, noise: noise, hold=lambda known, moved: moved,
            last=lambda known, x: torch.cat([known, x[:, known.shape[1]:]], 1))),
        ("the known frames are the first of the film, and yours are the last", _known_last),
        ("the whole film is asked for, known frames and new ones: yours are the new ones alone",
         dict(last=lambda known, x: x[:, known.shape[1]:])),
        *EULER_SLIPS,
    ],
    hints=("Try steps=1: what does the network see in each frame, and which time does it get for each?",
           "Put the known frames and the rest of the noise together. In a loop over i: times (n, T) of i / steps, the "
           "first k of them 1; the velocity; move; put the known frames back.",
           "t = torch.full(x.shape[:2], i / steps)\n"
           "t[:, :k] = 1\n"
           "x = torch.cat([known, (x + model(x, t) / steps)[:, k:]], dim=1)"),
    rtol=1e-3, atol=1e-4)

# --- 3


def _histories(frames, T, order=(0, 2, 1, 3), cut=lambda frames, T: (len(frames) // T, T), size=None) -> Tensor:
    _, L, C = frames.shape
    films = frames.reshape(*cut(frames, T), L, C).permute(order)
    return films.reshape(size(len(frames), L, C, T) if size else (-1, T, C))


def _batches(g: torch.Generator) -> list[tuple]:
    sizes = (1, 2, 2, 1), (1, 3, 4, 2), (3, 2, 3, 1), (1, 1, 3, 2), (2, 5, 3, 4), (3, 4, 2, 3)
    return [(rand(g, n * T, L, C), T) for n, T, L, C in sizes]


histories = Implementation(
    "histories",
    right=_histories,
    cases=_batches,
    slips=[
        ("the bug is still there: the numbers are in the right shape and in the old order, so that a history holds "
         "neighbouring places of one frame", dict(order=(0, 1, 2, 3)),
         "Print one history of the broken function: which digit should change from row to row, and which does?"),
        ("the batch starts with film 1, all of its places: yours has place 1 of all films first", dict(
            order=(2, 0, 1, 3))),
        ("a batch holds film after film, T frames each: you cut it as if frame 1 of all films came first", dict(
            cut=lambda frames, T: (T, len(frames) // T), order=(1, 2, 0, 3))),
        ("time must be the axis of length T in the middle: yours is (n * L, C, T)", dict(
            order=(0, 2, 3, 1), size=lambda B, L, C, T: (-1, C, T))),
        ("the C numbers of a place in one frame belong together: in yours time is the last axis before it is cut",
         dict(order=(0, 2, 3, 1))),
        ("a film is T frames of L places: you cut it as if it were L places of T frames",
         lambda frames, T: frames.reshape(-1, frames.shape[1], T, frames.shape[2]).transpose(1, 2).reshape(
             -1, T, frames.shape[2])),
        ("this has one sequence for each film, all places of all frames: every place alone is asked for", dict(
            order=(0, 1, 2, 3), size=lambda B, L, C, T: (B // T, T * L, C)),
         dict(size=lambda B, L, C, T: (B // T, T * L, C))),
        ("films and places are one axis, n * L: yours keeps them apart",
         dict(size=lambda B, L, C, T: (B // T, L, T, C))),
    ],
    hints=("The frames are numbered by film, frame, place in the cell above. Which of the three digits should change "
           "inside of one history?",
           "A reshape keeps the order in which numbers lie in memory and only cuts it elsewhere. Before n and L can be "
           "put together, they must stand side by side: exchange the axes of T and L first.",
           "films.transpose(1, 2).reshape(n * L, T, C)"))

# --- 4


def _good(places, true, start=2, close=lambda off: off.abs() < 0.5, of=lambda x: x.diff(dim=1),
          whole=lambda right: right):
    return whole(close(of(places) - of(true))[:, start:]).double().mean().item()            # of (n, 9) steps


good = Measurement(
    "good", truth=_good, tolerance=0.01,
    slips=[
        ("the steps between known frames have been counted, too: only those that end in frames 3 to 11 count",
         dict(start=0), dict(start=1)),
        ("the step from frame 2 to frame 3 ends in a new frame, and counts: your first is one later", dict(start=3)),
        ("these are places, not steps: a step is the difference of two frames that follow each other",
         dict(of=lambda x: x, start=3), dict(of=lambda x: x, start=0)),
        ("a step may be wrong in either direction: {}",
         ("yours counts one that is far too small as right", dict(close=lambda off: off < 0.5)),
         ("yours counts one that is far too large as right", dict(close=lambda off: off > -0.5)),
         ("you compared the lengths of steps, so a wrong way is not seen", dict(of=lambda x: x.diff(dim=1).abs()))),
        ("this is the share of films in which all steps are right: steps are counted", dict(
            whole=lambda right: right.all(1))),
        ("this is the share of steps that are wrong", dict(close=lambda off: off.abs() >= 0.5)),
        ("this is a number of steps: a share is asked for",
         lambda places, true: _good(places, true) * 9 * len(places), lambda places, true: _good(places, true) * 9),
        ("this is a mean error of the steps, in pixels: the share of right steps is asked for",
         lambda places, true: (places.diff(dim=1) - true.diff(dim=1)).abs()[:, 2:].mean().item()),
        ("less than half a pixel off is right: yours allows {}",
         ("a whole one", dict(close=lambda off: off.abs() < 1)),
         ("a quarter", dict(close=lambda off: off.abs() < 0.25))),
    ],
    hints=("Take one film: how many steps has it, and how many of them end in a new frame?",
           "The differences along the axis of frames, of both; their distance, without sign; only the steps from "
           "number 2 on; right where it is below 0.5; the mean over all.",
           "off = (places.diff(dim=1) - true.diff(dim=1)).abs()[:, 2:]\n"
           "(off < 0.5).double().mean().item()"))
