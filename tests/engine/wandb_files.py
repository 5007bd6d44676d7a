"""What W&B runs say, read back from their files; and a server on this machine that answers as W&B's does, or fails."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from engine.offline import records


@dataclass
class Run:
    """One run as its file tells it."""

    about: Any = None  # RunRecord: run_id, project, run_group, job_type, tags, display_name
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None


def read_runs(results: Path) -> list[Run]:
    """Every run of a results folder, in the order they were opened."""
    return [read_run(path) for path in sorted(results.glob("wandb/offline-run-*/*.wandb"))]


def read_run(path: Path) -> Run:
    """One run."""
    run = Run()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.about = run.about or record.run
            run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            run.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            run.history.append(_items(record.history.item))
        elif kind == "summary":
            run.summary |= _items(record.summary.update)
        elif kind == "artifact":
            run.artifacts.append(record.artifact)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@contextmanager
def server(status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """A server on this machine.

    Args:
        status: what it answers; all but 200 without a word.

    Yields:
        Its address, and the bodies of the requests so far.
    """
    asked = list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
            asked.append(f"{self.path} {body}")
            answer = json.dumps(_answer(body, self.headers["Host"])).encode() if status == 200 else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()


def _answer(body: str, host: str) -> Any:
    """What W&B's server says, as far as its client asks for it."""
    if "CreateRunFiles" in body:
        names = json.loads(body)["variables"]["files"]
        files = [{"name": name, "uploadUrl": f"http://{host}/upload/{name}"} for name in names]
        return {"data": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}}
    project = {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}
    bucket = {"id": "b", "name": "n", "displayName": "n", "sweepName": "", "historyLineCount": 0, "project": project}
    viewer = {"id": "u", "entity": "e", "username": "u", "flags": "{}", "teams": {"edges": []}}
    return {"data": {"viewer": viewer, "upsertBucket": {"inserted": True, "bucket": bucket}}}
