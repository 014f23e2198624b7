import torch

from course_lib.checks import video as check
from course_lib.data.moving import bounce
from course_lib.device import seeded
from course_lib.video import holding
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.courses)
def _(start, speed, T, far):
    rows = []
    for place, v in zip(start.tolist(), speed.tolist()):
        way, row = 1 if v >= 0 else -1, [place]
        for _ in range(T - 1):
            for _ in range(abs(v)):
                way = way if 0 <= place + way <= far else -way
                place += way
            row.append(place)
        rows.append(row)
    return torch.tensor(rows)


right(check.courses)(lambda start, speed, T, far: bounce(torch.stack([start + t * speed for t in range(T)], 1), far))
right(check.courses)(
    lambda start, speed, T, far: far - ((start[:, None] + speed[:, None] * torch.arange(T)) % (2 * far) - far).abs())

equivalent(check.courses, "torch.minimum(m, 2 * far - m) -> torch.minimum(2 * far - m, m)", "the smaller of two")

# --- 2


@right(check.go_on)
def _(model, known, noise, steps):
    x = noise.clone()
    x[:, :known.shape[1]] = known
    velocity = holding(model, known)
    for i in range(steps):
        x = x + velocity(x, torch.full((len(x),), i / steps)) / steps
    return x


@right(check.go_on)
def _(model, known, noise, steps):
    k = known.shape[1]
    new, time = noise[:, k:], 0.0
    while time < 1 - 1e-6:
        t = torch.cat([torch.ones(len(new), k), torch.full(new.shape[:2], time)], 1)
        new, time = new + model(torch.cat([known, new], 1), t)[:, k:] / steps, time + 1 / steps
    return torch.cat([known, new], 1)


wrong(check.go_on, "known and new ones together, and got 3 frames")(
    lambda model, known, noise, steps: model(torch.cat([known, noise], 1), torch.zeros(len(noise), 3)))
wrong(check.go_on, "a time for each frame of each film")(
    lambda model, known, noise, steps: model(noise, torch.zeros(len(noise))))


# --- 3

right(check.histories)(lambda frames, T: frames.unflatten(0, (-1, T)).permute(0, 2, 1, 3).flatten(0, 1))


@right(check.histories)
def _(frames, T):
    films = frames.split(T)
    return torch.stack([film[:, place] for film in films for place in range(frames.shape[1])])


wrong(check.histories, "the bug is still there")(lambda frames, T: frames.reshape(-1, T, frames.shape[2]))

# --- 4: steps of every kind

TRUE = torch.randint(8, 24, (9, 12), generator=seeded(0)).float()
OFF = torch.randint(-12, 13, (9, 12), generator=seeded(1)) / 9
OFF[:, :4], OFF[:5] = OFF[:, :4] / 2, 0.1
PLACES = TRUE + OFF.cumsum(1)
PLACES[3:, 6] = 2 * PLACES[3:, 5] - PLACES[3:, 6]
SHARE = ((PLACES.diff(dim=1) - TRUE.diff(dim=1)).abs()[:, 2:] < 0.5).double().mean().item()

right(check.good, PLACES, TRUE)(SHARE)
right(check.good, PLACES, TRUE)(torch.tensor(SHARE))
