"""The figures of the course: white, labelled, colour-blind-safe, legible at half width. Importing it sets the style."""

import base64
import html
import io
import math
import wave

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

# Okabe & Ito (2008): eight colours that stay apart for every kind of colour vision. Two more, for the tenth digit.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F6000", "#000000", "#F0E442", "#8C8C8C"]
DIVERGING = LinearSegmentedColormap.from_list("blue to orange", [COLOURS[0], "#FFFFFF", COLOURS[3]])

plt.rcParams.update({
    "figure.figsize": (6.4, 3.2), "figure.dpi": 110, "savefig.dpi": 110, "figure.facecolor": "white",
    "figure.constrained_layout.use": True, "axes.prop_cycle": plt.cycler(color=COLOURS), "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 11, "axes.labelsize": 10.5, "font.size": 10, "legend.frameon": False,
    "lines.linewidth": 1.8, "image.cmap": "gray_r", "image.interpolation": "nearest",
})


def tile(images: Tensor, n_col: int = 10, pad: int = 2) -> Tensor:
    """One picture of many: (n, C, h, w) in [0, 1] -> (H, W) for grey or (H, W, 3) for colour images.

    The space between the images and the empty places of the last row are white: 0 of ink, 1 of colour."""
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"images of shape {tuple(images.shape)} cannot be shown: expected (n, 1 or 3, height, width)")
    if n_col < 1:
        raise ValueError(f"n_col={n_col} must be at least 1")
    x = images.detach().float().cpu().clamp(0, 1)
    n, C, h, w = x.shape
    n_col = min(n_col, n)
    n_row = math.ceil(n / n_col)
    canvas = x.new_full((C, n_row * (h + pad) - pad, n_col * (w + pad) - pad), 0.0 if C == 1 else 1.0)
    for i in range(n):
        top, left = i // n_col * (h + pad), i % n_col * (w + pad)
        canvas[:, top:top + h, left:left + w] = x[i]
    return canvas[0] if C == 1 else canvas.permute(1, 2, 0)


def grid(images: Tensor, n_col: int = 10, ax=None, title: str | None = None):
    """Show images (n, C, h, w) in [0, 1] as a grid, grey ones as dark ink on white; returns the matplotlib axes."""
    picture = tile(images, n_col)
    if ax is None:
        height, width = picture.shape[:2]
        scale = min(6.4 / width, 6.4 / height, 0.6 / images.shape[-1])              # at most 0.6 inch an image
        _, ax = plt.subplots(figsize=(width * scale, height * scale + (0.3 if title else 0)))
    ax.imshow(picture.numpy(), vmin=0, vmax=1)
    ax.set_axis_off()
    if title:
        ax.set_title(title)
    return ax


def strip(rows: dict[str, Tensor]):
    """Rows of images with a name at the left of each: {name: (n, C, h, w)} with the same n; returns the axes."""
    sizes = {name: tuple(x.shape) for name, x in rows.items()}
    if not rows or len(set(sizes.values())) > 1:
        raise ValueError(f"every row needs images of the same number and size, got {sizes}")
    n, _, h, w = next(iter(rows.values())).shape
    picture = tile(torch.cat([x.detach().cpu() for x in rows.values()]), n_col=n)
    scale = min(5.4 / picture.shape[1], 0.6 / w)
    _, ax = plt.subplots(figsize=(picture.shape[1] * scale + 1, picture.shape[0] * scale))
    ax.imshow(picture.numpy(), vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[i * (h + 2) + h / 2 for i in range(len(rows))], yticklabels=list(rows))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def curves(lines: dict[str, tuple], ax=None, xlabel: str = "step", ylabel: str | None = None, smooth: int = 25):
    """Draw {name: (x, y)}. Long noisy lines are drawn faintly, with their mean over `smooth` neighbours on top."""
    if not lines:
        raise ValueError("there is nothing to draw: the history is empty")
    if ax is None:
        _, ax = plt.subplots()
    for i, (name, (x, y)) in enumerate(lines.items()):
        x, y, colour = list(x), torch.as_tensor(list(y), dtype=torch.float64), COLOURS[i % len(COLOURS)]
        if len(y) >= 4 * smooth:
            ax.plot(x, y, color=colour, alpha=0.25, lw=0.8)
            y = y.unfold(0, smooth, 1).mean(-1)
            x = x[smooth // 2: smooth // 2 + len(y)]
        ax.plot(x, y, color=colour, label=name, marker="o" if len(y) <= 12 else None, ms=4)
    ax.set(xlabel=xlabel, ylabel=ylabel or (next(iter(lines)) if len(lines) == 1 else "value"))
    if len(lines) > 1:
        ax.legend()
    return ax


def field(f, ax=None, extent: float = 3.0, n: int = 200, cmap=DIVERGING, **imshow):
    """Show a function of the plane as colour: f maps points (n*n, 2) to values (n*n,) over [-extent, extent]^2."""
    if ax is None:
        _, ax = plt.subplots(figsize=(3.6, 3.6))
    axis = torch.linspace(-extent, extent, n)
    points = torch.cartesian_prod(axis, axis)                     # (n*n, 2), first coordinate slowest
    with torch.no_grad():
        values = f(points).reshape(n, n).T                        # rows are the second coordinate
    ax.imshow(values.cpu().numpy(), extent=[-extent, extent] * 2, origin="lower", cmap=cmap, interpolation="bilinear",
              **imshow)
    ax.set(xlabel="$x_1$", ylabel="$x_2$")
    return ax


def scatter(x: Tensor, y: Tensor | None = None, ax=None, names: list[str] | None = None, s: float = 8):
    """Points (n, 2), coloured by their labels (n,) where given; returns the matplotlib axes."""
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"points of shape {tuple(x.shape)} cannot be drawn in the plane: expected (n, 2)")
    if ax is None:
        _, ax = plt.subplots(figsize=(3.6, 3.6))
    x = x.detach().cpu()
    if y is None:
        ax.scatter(*x.T, s=s, color=COLOURS[7], alpha=0.5, lw=0)
    else:
        for k in y.unique().tolist():
            ax.scatter(*x[(y == k).cpu()].T, s=s, color=COLOURS[k % len(COLOURS)], lw=0.3, edgecolor="white",
                       label=names[k] if names else str(k))
    ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    return ax


def confusion(counts: Tensor, classes: tuple[str, ...], ax=None):
    """A table (n, n) of counts, row = the true class, column = the answer; the diagonal is left uncoloured."""
    if counts.ndim != 2 or counts.shape != (len(classes), len(classes)):
        raise ValueError(f"counts of shape {tuple(counts.shape)} do not belong to {len(classes)} classes")
    if ax is None:
        _, ax = plt.subplots(figsize=(4.2, 4.2))
    counts = counts.cpu()
    wrong = counts.float().clone().fill_diagonal_(0)
    ax.imshow(wrong.numpy(), cmap="Oranges", vmax=max(1.0, 1.6 * wrong.max().item()))
    for i in range(len(classes)):
        for j in range(len(classes)):
            if counts[i, j]:
                ax.text(j, i, int(counts[i, j]), ha="center", va="center", fontsize=8)
    ax.set(xticks=range(len(classes)), yticks=range(len(classes)), xticklabels=classes, yticklabels=classes,
           xlabel="answer", ylabel="true class")
    ax.tick_params(length=0)
    return ax


def diagram(boxes: dict[str, tuple[float, float]], arrows: list[tuple[str, str]], colours: dict[str, str] | None = None,
            size: tuple[float, float] = (9.0, 3.0)):
    """Draw what a model is made of: boxes with a text at a place, {text: (x, y)}, and arrows from text to text.

    colours: {text: "#RRGGBB"} for boxes that shall stand out; size in inches.  Returns the matplotlib axes.
    Raises ValueError for an arrow from or to a box that is not there."""
    if missing := [text for arrow in arrows for text in arrow if text not in boxes]:
        raise ValueError(f"an arrow needs a box at both ends, and there is none called {missing[0]!r}")
    _, ax = plt.subplots(figsize=size)
    patches = {}
    for text, place in boxes.items():
        colour = (colours or {}).get(text, COLOURS[9])
        style = dict(boxstyle="round,pad=0.45", facecolor=colour + "22", edgecolor=colour, linewidth=1.4)
        patches[text] = ax.text(*place, text, ha="center", va="center", bbox=style).get_bbox_patch()
    for start, end in arrows:
        ax.annotate("", boxes[end], boxes[start], arrowprops=dict(
            arrowstyle="-|>", color="0.25", patchA=patches[start], patchB=patches[end], shrinkA=1, shrinkB=2))
    across, up = zip(*boxes.values())
    ax.set(xlim=(min(across) - 0.6, max(across) + 0.6), ylim=(min(up) - 0.5, max(up) + 0.5))
    ax.set_axis_off()
    return ax


def spectrogram(sound: Tensor, rate: int, ax=None, title: str | None = None):
    """Draw a sound (T,) in [-1, 1] as time against frequency: dark is loud, over 70 decibels; returns the axes.

    rate: samples a second.  Raises ValueError as `listen` does, and for a sound of less than 32 samples."""
    if len(_sounds(sound, rate, [title or ""])[0]) < 32:
        raise ValueError(f"a sound of shape {tuple(sound.shape)} is too short for a spectrogram: expected 32 samples")
    if ax is None:
        _, ax = plt.subplots(figsize=(4.2, 2.6))
    x = sound.detach().float().cpu().numpy()
    window = min(256, len(x) // 2)
    x = x + 1e-6 * torch.randn(len(x), generator=torch.Generator().manual_seed(0)).numpy()   # silence is no log of 0
    *_, picture = ax.specgram(x, NFFT=window, Fs=rate, noverlap=window * 3 // 4, cmap="gray_r")
    loudest = picture.get_array().max()
    picture.set_clim(loudest - 70, loudest)
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title or "")
    return ax


def listen(sounds, rate: int, titles: list[str]) -> None:
    """Put a player into the page for each sound, in the order given: what is saved plays where no kernel runs.

    sounds: a tensor (T,) or (n, T), or a list of tensors (T,), in [-1, 1]; rate: samples a second, kept as 16 bits
    each.  Raises ValueError for values outside [-1, 1], nothing to hear, and titles that do not fit in number."""
    from IPython.display import display

    players = []
    for x, title in zip(_sounds(sounds, rate, titles), titles):
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)                                   # bytes a sample
            out.setframerate(rate)
            out.writeframes((x * 32767).round().to(torch.int16).numpy().tobytes())
        data = base64.b64encode(file.getvalue()).decode()
        players.append(f'<figure style="margin: 4px; flex: 1 1 200px; max-width: 320px">'
                       f'<figcaption>{html.escape(title)}</figcaption><audio controls preload="metadata" '
                       f'style="width: 100%" src="data:audio/wav;base64,{data}"></audio></figure>')
    display({"text/html": f'<div style="display: flex; flex-wrap: wrap">{"".join(players)}</div>',
             "text/plain": f"sounds: {', '.join(titles)}"}, raw=True)


def player(sounds, rate: int, titles: list[str]) -> None:
    """The spectrogram of each sound in a row, and a player of each below; arguments and errors as in `listen`."""
    waves = _sounds(sounds, rate, titles)
    n_col = min(len(waves), 4)
    n_row = math.ceil(len(waves) / n_col)
    _, axes = plt.subplots(n_row, n_col, figsize=(max(4.2, 2.3 * n_col), 2.3 * n_row), squeeze=False)
    for i, ax in enumerate(axes.flat):
        if i < len(waves):
            spectrogram(waves[i], rate, ax, titles[i])
        else:
            ax.set_axis_off()
        if i % n_col:
            ax.set_ylabel("")
    plt.show()
    listen(waves, rate, titles)


def _sounds(sounds, rate: int, titles: list[str]) -> list[Tensor]:
    if isinstance(sounds, Tensor):
        sounds = [sounds] if sounds.ndim == 1 else list(sounds)
    if len(sounds) != len(titles) or not titles:
        raise ValueError(f"{len(sounds)} sounds need as many titles, got {len(titles)}")
    for x in sounds:
        if x.ndim != 1 or not x.is_floating_point() or len(x) == 0:
            raise ValueError(f"a sound of shape {tuple(x.shape)} and {x.dtype} cannot be played: expected floats (T,)")
        if not x.abs().max() <= 1:                                # also true of nan
            raise ValueError(f"a sound must lie in [-1, 1], its largest value is {x.abs().max():.3g}")
    if isinstance(rate, bool) or not isinstance(rate, int) or not 3_000 <= rate <= 192_000:
        raise ValueError(f"rate={rate!r} must be a whole number of samples a second from 3,000 to 192,000")
    return [x.detach().float().cpu() for x in sounds]


def animate(films: Tensor, titles: list[str], seconds: float = 0.15) -> None:
    """Put films (n, T, C, h, w) in [0, 1] into the page side by side, as one moving picture, which plays where no
    kernel runs. Grey ones are dark ink on white.  seconds: how long a frame is shown

    Raises ValueError for other shapes, for titles that do not fit in number, and for a time that no GIF can hold."""
    from IPython.display import display

    _films(films, titles, seconds)
    frames = [tile(frame, n_col=len(films)) for frame in films.detach().cpu().transpose(0, 1)]
    data, width = base64.b64encode(_gif(frames, seconds)).decode(), 3 * frames[0].shape[1]
    names = html.escape(", ".join(" ".join(title.split()) for title in titles))
    display({"text/html": f'<img src="data:image/gif;base64,{data}" width="{width}" alt="moving picture: {names}" '
                          f'style="image-rendering: pixelated">', "text/plain": f"moving picture: {names}"}, raw=True)


def film(films: Tensor, titles: list[str], seconds: float = 0.15) -> None:
    """Each film as a strip of its frames, and below all of them as `animate` shows them: arguments as there."""
    _films(films, titles, seconds)
    strip(dict(zip(titles, films)))
    plt.show()
    animate(films, titles, seconds)


def _films(films: Tensor, titles: list[str], seconds: float) -> None:
    if films.ndim != 5 or films.shape[2] not in (1, 3) or 0 in films.shape or len(set(titles)) != len(films):
        raise ValueError(f"films of shape {tuple(films.shape)} with {len(set(titles))} titles cannot be shown: "
                         f"expected (n, T, 1 or 3, height, width) and n different titles")
    if not 0.02 <= seconds <= 60:
        raise ValueError(f"seconds={seconds} a frame must lie between 0.02 and 60")


def _gif(frames: list[Tensor], seconds: float) -> bytes:
    """A moving picture without end, of frames (H, W) grey as ink or (H, W, 3): the same bytes for the same frames. Its
    colours are fixed, 32 greys or 6 x 6 x 6 colours, so that none is chosen by the pictures."""
    from PIL import Image

    grey = frames[0].ndim == 2
    levels = 32 if grey else 6
    if grey:
        colours = [round(255 * (1 - i / 31)) for i in range(32) for _ in range(3)]
    else:
        colours = [51 * c for r in range(6) for g in range(6) for b in range(6) for c in (r, g, b)]
    pictures = []
    for frame in frames:
        level = (frame * (levels - 1)).round().long()             # (H, W) or (H, W, 3)
        number = level if grey else level @ torch.tensor([36, 6, 1])
        picture = Image.fromarray(number.to(torch.uint8).numpy(), "P")
        picture.putpalette(colours)
        pictures.append(picture)
    file = io.BytesIO()
    pictures[0].save(file, "gif", save_all=True, append_images=pictures[1:], duration=round(1000 * seconds), loop=0,
                     optimize=False)
    return file.getvalue()


def sliders(show, **ranges) -> None:
    """Let the reader turn numbers: show(**numbers) draws or prints again whenever a slider is moved.

    A range is (start, lowest, highest, step); a text in its place is a field to type into. What `show` gives at the
    start is part of the output, so that a saved page shows it where no kernel runs.  Raises ValueError for another
    range, and for a `show` that gives nothing."""
    from IPython.display import clear_output, display
    from IPython.utils.capture import capture_output
    from ipywidgets import HBox, Output, VBox

    controls = {name: _control(name, start) for name, start in ranges.items()}

    def draw():
        show(**{name: control.value for name, control in controls.items()})
        plt.show()                                                # what `show` has left open

    with capture_output() as still:
        draw()
    pictures = [o.data["image/png"] for o in still.outputs if "image/png" in o.data]
    if not pictures and not still.stdout:
        raise ValueError(f"{show.__name__} drew and printed nothing with {ranges}")
    live = Output()
    if still.stdout:
        live.append_stdout(still.stdout)
    live.outputs += tuple(dict(output_type="display_data", data=o.data, metadata={}) for o in still.outputs)

    def turn(change):
        with live:
            clear_output(wait=True)
            draw()

    for control in controls.values():
        control.observe(turn, "value")
    beside = HBox if len(controls) > 3 else VBox                  # many sliders need the height of the picture
    output = beside([VBox([*controls.values()]), live])._repr_mimebundle_()
    output["text/plain"] = still.stdout or f"sliders: {', '.join(controls)}"
    display(output | ({"image/png": pictures[0]} if pictures else {}), raw=True)


def _control(name: str, start):
    from ipywidgets import FloatSlider, IntSlider, Text

    if isinstance(start, str):
        return Text(start, description=name, continuous_update=False)
    if not isinstance(start, tuple) or len(start) != 4 or not start[1] <= start[0] <= start[2]:
        raise ValueError(f"{name}={start!r} is no range: expected (start, lowest, highest, step) or a text")
    value, low, high, step = start
    slider = IntSlider if all(isinstance(number, int) for number in start) else FloatSlider
    return slider(value, min=low, max=high, step=step, description=name, continuous_update=False)
