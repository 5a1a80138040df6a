"""The page's routes, each with its right, and the server that runs them."""

from __future__ import annotations

import threading
from dataclasses import replace

import uvicorn

from dicomnode.casebook.house import House
from dicomnode.database.database import Database
from dicomnode.errors import ConfigError
from dicomnode.web import cycles, decide, entry, operation
from dicomnode.web.app import Page, application
from dicomnode.web.rights import Right

PAGES = (
    Page("/login", "GET", Right.NOBODY, entry.login_form),
    Page("/login", "POST", Right.NOBODY, entry.log_in),
    Page("/static/{name}", "GET", Right.NOBODY, entry.static),
    Page("/", "GET", Right.SELF, entry.start),
    Page("/logout", "POST", Right.SELF, entry.log_out),
    Page("/cycles", "GET", Right.LOOK, cycles.listing),
    Page("/cycles/{cycle_id}", "GET", Right.LOOK, cycles.one),
    Page("/cycles/{cycle_id}/{revision_id}/report.pdf", "GET", Right.LOOK, cycles.report),
    Page("/cycles/{cycle_id}/{revision_id}/{role}", "GET", Right.LOOK, cycles.volume),
    Page("/cycles/{cycle_id}/release", "POST", Right.DECIDE, decide.release),
    Page("/cycles/{cycle_id}/hold", "POST", Right.DECIDE, decide.hold),
    Page("/cycles/{cycle_id}/send", "POST", Right.SEND, decide.send),
    Page("/administrations", "POST", Right.DECIDE, decide.administer),
    Page("/administrations/{number:int}/withdraw", "POST", Right.DECIDE, decide.withdraw),
    Page("/operation", "GET", Right.OPERATION, operation.operation),
    Page("/operation/peers/{name}/echo", "POST", Right.ECHO, operation.echo),
    Page("/quarantine/{uid}", "POST", Right.SEND, decide.quarantined),
    Page("/questions", "GET", Right.ASK, operation.asking),
    Page("/questions/{number:int}.csv", "GET", Right.AUDIT, operation.as_csv),
    Page("/story", "GET", Right.AUDIT, operation.story),
    Page("/verify", "POST", Right.AUDIT, operation.verify),
)


def serve(house: House, stop: threading.Event) -> None:
    """Answer until ``stop``. Raises ConfigError where nobody may log in or the port is taken."""
    web = house.config.web
    patient = Database(house.config.archive.url, lock_timeout_s=web.lock_timeout_s)
    app = application(replace(house, database=patient), PAGES)
    server = uvicorn.Server(
        uvicorn.Config(
            app, host=web.address, port=web.port, log_config=None, access_log=False, server_header=False,
            lifespan="off", proxy_headers=web.behind_proxy, timeout_graceful_shutdown=5,
            ssl_certfile=web.certificate_file, ssl_keyfile=web.key_file,
        )
    )  # fmt: skip
    thread = threading.Thread(target=_run, args=(server,), name="web")
    thread.start()
    while thread.is_alive() and not stop.wait(0.2):
        pass
    server.should_exit = True
    thread.join()
    if not stop.is_set():
        raise ConfigError([f"web.port: {web.address}:{web.port} cannot be listened on; see the log"])


def _run(server: uvicorn.Server) -> None:
    try:
        server.run()
    except SystemExit:  # uvicorn's way of saying that the port is taken
        return
