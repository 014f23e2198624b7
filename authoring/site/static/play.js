// A sheet is one PNG of many small pictures, in rows. Its inputs (sliders, choices) say which of them is shown.
// <figure class="sheet" data-shape="10,11" data-size="112,28" data-columns="11" data-zoom="4"> <canvas> <img hidden> <select> <input type=range>
function sheet(figure) {
  const canvas = figure.querySelector("canvas"), picture = figure.querySelector("img");
  const [width, height] = figure.dataset.size.split(",").map(Number);
  const columns = Number(figure.dataset.columns);
  const inputs = [...figure.querySelectorAll("select, input[type=range]")];
  const caption = figure.querySelector("output");
  canvas.width = width; canvas.height = height;
  canvas.style.width = `min(100%, ${width * Number(figure.dataset.zoom)}px)`;

  function draw() {
    const shape = figure.dataset.shape.split(",").map(Number);
    const k = inputs.reduce((sum, input, i) => sum * shape[i] + Number(input.value), 0);
    const ink = canvas.getContext("2d");
    ink.drawImage(picture, k % columns * width, Math.floor(k / columns) * height, width, height, 0, 0, width, height);
    const words = inputs.map((input) => input.selectedOptions ? input.selectedOptions[0].text
                                      : JSON.parse(input.dataset.names)[input.value]);
    caption.textContent = figure.dataset.caption.replace(/\{(\d)\}/g, (_, i) => words[i]);
    canvas.setAttribute("aria-label", caption.textContent);
  }

  inputs.forEach((input) => input.addEventListener("input", draw));
  picture.complete && picture.naturalWidth ? draw() : picture.addEventListener("load", draw);

  const button = figure.querySelector("button");
  if (!button) return;
  let timer = null;
  function play() {
    clearInterval(timer);
    inputs[0].value = 0;
    draw();
    timer = setInterval(() => {
      if (inputs[0].value === inputs[0].max) { clearInterval(timer); return; }
      inputs[0].value = Number(inputs[0].value) + 1;
      draw();
    }, Number(figure.dataset.pause));
  }
  button.addEventListener("click", play);
  if (matchMedia("(prefers-reduced-motion: no-preference)").matches) {
    picture.complete && picture.naturalWidth ? play() : picture.addEventListener("load", play);
  }
}

// What scrolls sideways can be reached by keyboard, and what the theme leaves without a name gets one.
function accessible() {
  const sidebar = document.querySelector(".bd-sidebar-primary");
  if (sidebar) { sidebar.setAttribute("role", "navigation"); sidebar.setAttribute("aria-label", "The course"); }
  document.querySelectorAll("summary").forEach((e) => e.innerText.trim() || e.setAttribute("aria-label", "Show what is below"));
  document.querySelectorAll("pre, .math.notranslate.nohighlight, table").forEach((e) => {
    const box = e.tagName === "TABLE" ? e.parentElement : e;
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
}

document.querySelectorAll("figure.sheet").forEach(sheet);
addEventListener("load", accessible);
