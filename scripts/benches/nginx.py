"""The other side of the static file rows and of the added latency: nginx, one worker, on loopback.

As distributions set it up for static files: sendfile and tcp_nopush on, no open-file cache. No access log
(ours writes none either), and connections are kept for as many requests as come, as ours are. A second port
serves the same files tuned for what the benches ask (open-file cache, large buffers in place of sendfile,
which on loopback costs more than it saves): no promise is made against it, but the notes say what it does.
"""

import os
import pwd
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benches.processes import BenchError, child

CONFIG = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  client_max_body_size 4m;
  client_body_buffer_size 1m;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  types {{ application/json json; }}
  upstream behind {{ server 127.0.0.1:{behind}; keepalive 32; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    root {folder}/static;
    # A static file answers GET only: a POST gets the same file by way of its refusal.
    error_page 405 =200 $uri;
    location ~ ^/(info|exchange)$ {{
      proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
  server {{
    listen 127.0.0.1:{tuned_port} backlog=1024;
    root {folder}/static;
    sendfile off;
    output_buffers 2 1m;
    open_file_cache max=100;
  }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx: `worker` is the process that does the work; files in `static` are served."""

    port: int
    tuned_port: int
    worker: int
    static: Path


@contextmanager
def nginx(program: str, folder: Path, *, behind: int = 9) -> Iterator[Nginx]:
    """Run nginx for the length of the block; `/info` and `/exchange` go to port `behind`."""
    # A folder of its own: several benches of one run may start one.
    folder = Path(tempfile.mkdtemp(prefix="nginx-", dir=folder))
    static = folder / "static"
    static.mkdir()
    with socket.socket() as one, socket.socket() as another:
        one.bind(("127.0.0.1", 0))
        another.bind(("127.0.0.1", 0))
        port, tuned_port = one.getsockname()[1], another.getsockname()[1]
    # Started by root, workers become another user, who may not look into our folder.
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        CONFIG.format(user=user, folder=folder, port=port, tuned_port=tuned_port, behind=behind)
    )
    argv = [program, "-c", str(config), "-p", str(folder), "-e", str(folder / "nginx-error.log")]
    with child("nginx", argv, folder) as master:
        worker = _worker_of(master.pid, port)
        yield Nginx(port, tuned_port, worker, static)


def _worker_of(master: int, port: int) -> int:
    """Wait until nginx answers; the process id of its one worker."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        except (ConnectionRefusedError, FileNotFoundError):
            children = []
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise BenchError("nginx did not start")
