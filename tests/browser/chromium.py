"""Debian's Chromium, driven over the W3C WebDriver protocol by its own chromedriver: plain HTTP."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Key of an element's identifier (W3C WebDriver, section 12)."""


class Chromium:
    """One browser window. ``width`` 400 or 1280; ``scheme`` light or dark."""

    def __init__(self, width: int = 1280, scheme: str = "light") -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="chromium-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.base = f"http://127.0.0.1:{port}"
        self._until_it_listens()
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
                     f"--user-data-dir={self.folder.name}"]  # fmt: skip
        options = {"args": arguments, "binary": "/usr/bin/chromium"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options,
                  "goog:loggingPrefs": {"browser": "ALL"}}  # fmt: skip
        made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/session/{made['sessionId']}"
        self.look(width, scheme)

    def _until_it_listens(self) -> None:
        for _ in range(300):
            try:
                self._call("GET", "/status")
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("chromedriver did not start")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = json.dumps(body if body is not None else {}).encode() if method == "POST" else None
        request = urllib.request.Request(
            self.base + path, data, {"content-type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from error

    def close(self) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(20)
            self.folder.cleanup()

    def devtools(self, command: str, **parameters: object) -> Any:
        """A command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def look(self, width: int, scheme: str, media: str = "") -> None:
        """The window's width, light or dark, screen or print."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        feature = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", media=media, features=feature)

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._call("GET", "/url"))

    def run(self, script: str, *arguments: object) -> Any:
        """The value that JavaScript returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, css: str) -> str:
        found = self._call("POST", "/element", {"using": "css selector", "value": css})
        return str(found[ELEMENT])

    def text(self, css: str) -> str:
        return str(self._call("GET", f"/element/{self.find(css)}/text"))

    def press(self, css: str) -> None:
        self._call("POST", f"/element/{self.find(css)}/click", {})

    def type(self, css: str, text: str) -> None:
        self._call("POST", f"/element/{self.find(css)}/value", {"text": text})

    def until(self, script: str, timeout_s: float = 60.0) -> None:
        """Wait until the expression is true in the page."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.run(f"return Boolean({script})"):
                return
            time.sleep(0.05)
        raise AssertionError(f"never true within {timeout_s:g} s: {script}")

    def complaints(self) -> list[str]:
        """Warnings and errors of the browser's console: blocked by the policy, failed to load, thrown."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def picture(self, path: Path, *, whole: bool = True) -> Path:
        """A screenshot, of the whole page or of what the window shows."""
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def log_in(self, address: str, user: str, password: str) -> None:
        self.open(f"{address}/login")
        self.type('input[name="user"]', user)
        self.type('input[name="password"]', password)
        self.press("main button")
        self.until("!location.pathname.startsWith('/login')")
