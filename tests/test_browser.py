"""As a newcomer would: `make lab`, a real browser, and the first lesson from its first cell to its last."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "00_start_here.ipynb"
BROWSER = next((b for name in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(name))), None)

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed: the browser test needs it"),
    pytest.mark.skipif(not (ROOT / ".venv" / "installed").exists(), reason="`make lab` was not set up: no .venv here"),
]
EVERY = 500                                        # milliseconds between two looks: each reads the whole notebook
STATE = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    if (!panel?.content?.model?.cells) return {n: 0, busy: true};
    const cells = [...panel.content.model.cells].map(c => c.sharedModel.toJSON());
    const code = cells.filter(c => c.cell_type === 'code' && c.source.length);
    const outputs = code.flatMap(c => c.outputs);
    return {n: code.length, run: code.filter(c => c.execution_count).length,
            busy: panel.sessionContext.session?.kernel?.status !== 'idle',
            errors: outputs.filter(o => o.output_type === 'error').map(o => o.evalue),
            stderr: outputs.filter(o => o.name === 'stderr').map(o => o.text),
            text: outputs.map(o => [o.text || ''].flat().join('')).join('')};
}"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab started by `make lab`, with settings of its own that never save by themselves."""
    port, settings = free_port(), tmp_path / "settings"
    plugin = settings / "@jupyterlab" / "docmanager-extension"
    plugin.mkdir(parents=True)
    (plugin / "plugin.jupyterlab-settings").write_text(json.dumps({"autosave": False}))
    flags = (f"--no-browser --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0 --IdentityProvider.token= "
             f"--allow-root --LabApp.expose_app_in_browser=True --LabApp.user_settings_dir={settings} "
             f"--LabApp.workspaces_dir={tmp_path / 'workspaces'} --LabApp.check_for_updates_class="
             "jupyterlab.NeverCheckForUpdate")
    environment = os.environ | {"JUPYTER_RUNTIME_DIR": str(tmp_path / "run"), "TQDM_DISABLE": "0"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(["make", "lab", f"LAB_FLAGS={flags}"], cwd=ROOT, stdout=log, stderr=log,
                                  start_new_session=True, env=environment)
        address, start = f"http://127.0.0.1:{port}", time.monotonic()
        try:
            while True:
                assert server.poll() is None and time.monotonic() < start + 60, (tmp_path / "log").read_text()[-2000:]
                try:
                    urllib.request.urlopen(f"{address}/api", timeout=5).read()
                    break
                except OSError:
                    time.sleep(0.1)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def test_the_first_lesson_runs_to_its_end_in_a_browser(lab, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    before = hashlib.sha256(NOTEBOOK.read_bytes()).hexdigest()
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=quiet)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{lab}/lab/tree/notebooks/{NOTEBOOK.name}")
        page.get_by_role("menuitem", name="Run", exact=True).wait_for(timeout=60_000)
        page.wait_for_function(f"({STATE})().n > 20", polling=EVERY, timeout=60_000)
        page.wait_for_function(f"!({STATE})().busy", polling=EVERY, timeout=60_000)
        page.locator("mjx-container").first.wait_for(timeout=20_000)                 # equations render, without network
        untouched = not page.evaluate("jupyterapp.shell.currentWidget.context.model.dirty")
        page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        assert page.evaluate(STATE)["run"] == 0
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_function(f"(s => s.errors.length || s.run === s.n && !s.busy)(({STATE})())", polling=EVERY,
                               timeout=240_000)
        state = page.evaluate(STATE)
        not_for_learners = page.get_by_text("Nbgrader").or_(page.get_by_text("Create Assignment")).or_(
            page.get_by_text("Validate", exact=True)).or_(page.get_by_text("Jupyter news")).all_inner_texts()
        dead = page.evaluate("[...jupyterapp.shell.currentWidget.content.model.cells].flatMap(c => c.sharedModel"
                             ".toJSON().outputs || []).filter(o => /training: /.test(o.data?.['text/plain']))")
        page.screenshot(path=tmp_path / "page.png")
        browser.close()
    assert state["errors"] == [] and state["stderr"] == [] and (not_for_learners, dead) == ([], [])
    assert untouched, "the lesson opened as unsaved: the metadata lack something that JupyterLab writes"
    assert state["run"] == state["n"] and "200 steps, zero_grad in place: 0." in state["text"]
    assert hashlib.sha256(NOTEBOOK.read_bytes()).hexdigest() == before
