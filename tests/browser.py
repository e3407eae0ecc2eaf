"""JupyterLab and a browser for tests: one server and one Chromium for the whole session.

`open_page` shows a local file (viewport of a small laptop). `jupyterlab` is a server on loopback
with a token, in a folder of its own, with the extension as it is built in the repository;
`jupyterlab.show(notebook)` writes a notebook there, opens it and gives the Playwright page. Errors
on a page fail the test.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = "cxr-tutorial-cells"
VIEWPORT = {"width": 1366, "height": 768}
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OPTIONS += ["--disable-background-networking", "--disable-component-update"]


def installed_chromium(playwright) -> str | None:
    "The browser to use: the system's, or the one that Playwright has downloaded."
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


@pytest.fixture(scope="session")
def chromium():
    "A headless Chromium. Tests that use it are skipped where none is installed."
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        program = installed_chromium(playwright)
        if program is None:
            pytest.skip("no Chromium is installed: apt-get install chromium, or playwright install")
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()


def _is_jupyterlabs(error) -> bool:
    """An error with nothing of ours in its stack: all its places are in JupyterLab's own files.

    It takes its splash screen away twice if the theme changes twice in a moment, and rejects what
    it was still waiting for when a kernel is shut down (that one comes without a stack)."""
    if "Canceled future for " in error.message:
        return True
    places = [line for line in error.stack.splitlines() if line.strip().startswith("at ")]
    return bool(places) and all("/static/lab/" in place for place in places)


def _watch(page, errors: list[str]) -> None:
    "Collect what goes wrong on a page, and keep it from any other host."

    def note(error) -> None:
        if not _is_jupyterlabs(error):
            errors.append(f"{error}\n{error.stack}")

    page.on("pageerror", note)
    page.set_default_timeout(20_000)
    local = ("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:")
    page.context.route(lambda address: not address.startswith(local), lambda route: route.abort())


@pytest.fixture
def open_page(chromium):
    "`open_page(file, dark=False)` shows a local HTML file in a fresh page; errors fail the test."
    errors, contexts = [], []

    def show(file: Path, dark: bool = False, **options):
        scheme = "dark" if dark else "light"
        context = chromium.new_context(viewport=VIEWPORT, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        _watch(page, errors)
        page.goto(Path(file).resolve().as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert not errors, errors


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _environment(home: Path) -> dict[str, str]:
    "Nothing of the user's own Jupyter; the extension as it is built in the repository."
    built = home / "path" / "labextensions" / EXTENSION
    shutil.copytree(ROOT / "labextension" / "built", built)
    for name in ("config", "data", "runtime", "settings", "workspaces"):
        (home / name).mkdir()
    page = home / "config" / "labconfig" / "page_config.json"
    page.parent.mkdir()  # no questions about news
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    page.write_text(json.dumps(quiet))
    own = {
        "JUPYTER_PATH": home / "path",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    return os.environ | {name: str(value) for name, value in own.items()}


OPEN = """async (path) => {
    const open = { path, factory: 'Notebook' };
    window.panel = await window.jupyterapp.commands.execute('docmanager:open', open);
    await window.panel.revealed;
    const late = new Promise((_, reject) => setTimeout(reject, 60_000, 'no kernel was started'));
    await Promise.race([window.panel.sessionContext.ready, late]);
}"""
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


class JupyterLab:
    "A running JupyterLab, and one page that shows it."

    def __init__(self, browser, folder: Path, address: str, token: str, environment: dict):
        self.folder, self.address, self.token = folder, address, token
        self.environment = environment
        self.errors: list[str] = []
        self.context = browser.new_context(viewport=VIEWPORT)
        self.page = self.context.new_page()
        _watch(self.page, self.errors)
        self.page.goto(f"{address}/lab?token={token}")
        self.page.wait_for_function("window.jupyterapp?.restored")
        self.page.evaluate("window.jupyterapp.restored.then(() => true)")

    def run(self, command: str, **arguments):
        "Execute a command of JupyterLab, such as notebook:run-all-cells, and wait for its end."
        code = "([id, args]) => window.jupyterapp.commands.execute(id, args).then(() => null)"
        self.page.evaluate(code, [command, arguments])

    def trust(self, file: Path) -> None:
        "Sign a notebook, as running it in JupyterLab would."
        notary = NotebookNotary(data_dir=self.environment["JUPYTER_DATA_DIR"])
        notary.sign(nbformat.read(file, 4))
        notary.store.close()

    def show(self, notebook, name: str = "notebook.ipynb", trusted: bool = True):
        "Write a notebook (a node or a file) into the folder and open it alone. Returns the page."
        self.close()
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(notebook, Path):
            notebook = nbformat.read(notebook, 4)
        notebook.metadata.setdefault("kernelspec", KERNEL)
        nbformat.write(notebook, file)
        if trusted:
            self.trust(file)
        self.page.evaluate(OPEN, name)
        return self.page

    def shut_kernel_down(self) -> None:
        "Shut down the kernel of the open notebook: what still works needs none."
        self.page.evaluate("window.panel.sessionContext.shutdown()")

    def close(self) -> None:
        "Close every document, without saving, and stop the kernels."
        self.page.evaluate("""async () => {
            const app = window.jupyterapp;
            for (const widget of [...app.shell.widgets('main')]) {
                if (widget.context) {
                    await widget.context.sessionContext?.shutdown();
                    widget.context.model.dirty = false;
                }
                widget.dispose();
            }
        }""")

    def theme(self, dark: bool) -> None:
        "Switch to the dark or the light theme, and wait until it is shown."
        name = "JupyterLab Dark" if dark else "JupyterLab Light"
        self.run("apputils:change-theme", theme=name)
        shown = f"body[data-jp-theme-light='{str(not dark).lower()}']"
        self.page.wait_for_selector(shown, state="attached")

    def wait_until_idle(self, seconds: float = 60) -> None:
        "Wait until the kernel of the open notebook has nothing to do."
        self.page.wait_for_function(
            """() => {
                const { session } = window.panel.sessionContext;
                const prompts = [...document.querySelectorAll('.jp-InputPrompt')];
                const running = prompts.some((prompt) => prompt.textContent.includes('*'));
                return session?.kernel.status === 'idle' && !running;
            }""",
            timeout=1000 * seconds,
        )


@contextmanager
def running_lab(home: Path):
    "A JupyterLab server in a folder of its own: folder, address, token and environment."
    folder, port, token = home / "work", _free_port(), secrets.token_hex(16)
    folder.mkdir(parents=True)
    environment = _environment(home)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    command += ["--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    log = (home / "log.txt").open("w")
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/api?token={token}", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, (home / "log.txt").read_text()[-3000:]
                time.sleep(0.1)
        else:
            raise AssertionError("JupyterLab did not start: " + (home / "log.txt").read_text())
        yield folder, address, token, environment
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


@pytest.fixture(scope="session")
def _lab(chromium, tmp_path_factory):
    with running_lab(tmp_path_factory.mktemp("jupyter")) as (folder, address, token, environment):
        lab = JupyterLab(chromium, folder, address, token, environment)
        yield lab
        lab.close()
        lab.context.close()


@pytest.fixture
def jupyterlab(_lab):
    "The session's JupyterLab with no document open and the light theme; page errors fail the test."
    _lab.errors.clear()
    yield _lab
    _lab.close()
    if not _lab.page.locator("body[data-jp-theme-light='true']").count():
        _lab.theme(dark=False)
    assert not _lab.errors, _lab.errors
