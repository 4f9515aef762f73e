"""nginx and Caddy in front of a server, configured as docs/OPERATIONS.md says: its text, with other names and ports."""

import http.client
import json
import os
import pwd
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from types import FunctionType, SimpleNamespace

import record
import story
from front_end import FrontEnd
from plain import Answer
from script import Room, Script
from wss import Connection

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "OPERATIONS.md"
CHAPTER = "TLS: behind a reverse proxy"
KINDS = ("nginx", "caddy")

# What the documented configuration is a part of on a real machine. One process, so that it can be ended by its id.
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/collabd.conf;
}}
"""


def through_each(title):
    """Register a function taking a Stage and a kind of proxy as one story for each kind."""

    def register(function):
        for kind in KINDS:
            # The kind as a default: a wrapper around the function would hide the line on which it fails.
            told = FunctionType(function.__code__, function.__globals__, function.__name__, (kind,))
            story.story(f"{kind}: {title}")(told)
        return function

    return register


def documented(language):
    """The one block in this language in the manual's chapter on proxies."""
    chapters = re.split(r"^## ", MANUAL.read_text(), flags=re.MULTILINE)
    chapter = next((c for c in chapters if c.startswith(CHAPTER)), "")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", chapter, flags=re.MULTILINE | re.DOTALL)
    story.expect_equal(len(blocks), 1, f"blocks of {language} in {MANUAL.name}, {CHAPTER}")
    return blocks[0]


def replaced(text, changes):
    """The text with each of these replaced, all of which have to be in it: nothing is changed by accident."""
    for old, new in changes.items():
        story.expect_equal(text.count(old), 1, f"how often {old!r} is documented")
        text = text.replace(old, new)
    return text


def certificate(folder, name):
    """A self-made certificate and its key, and a client's context that trusts this certificate and no other."""
    crt, key = folder / "proxy.crt", folder / "proxy.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", crt],
        check=True, capture_output=True,
    )
    return crt, key, ssl.create_default_context(cafile=crt)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def dial(port, address="127.0.0.1"):
    """A connection to this port from one of this machine's many addresses on the loopback."""
    dialled = socket.create_connection(("127.0.0.1", port), story.DEADLINE, (address, 0))
    dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return dialled


def behind(stage, kind, *options, **more):
    """A server with one session, a proxy in front of it, and a way to join through that."""
    room = Room(stage, *options)
    proxy = Proxy(stage, kind, room.server, **more)

    def join(user, **how):
        script = stage.own(proxy.script("room", user, **how))
        script.joined()
        return script

    return room, proxy, join


class Proxy:
    """One proxy in front of one server. It needs no rights: started by root, it runs as nobody.

    `changes` are made to the documented configuration besides the name, the ports and the files.
    """

    def __init__(self, stage, kind, server, name="lab.example", changes=None):
        self.kind, self.name, self.upstream, self.changes = kind, name, server.port, changes or {}
        self.folder = stage.folder()
        self.certificate, self.key, self.trust = certificate(self.folder, name)
        self.process = None
        stage.own(self)
        # Between the moment a port is found free and the one it is listened on it may be taken.
        for _ in range(5):
            self._start()
            story.until(lambda: self._listens() or self.process.poll() is not None, self._what)
            if self.process.poll() is None:
                return
        raise story.Failed(f"{kind} does not start: {self.logs()[-1000:]}")

    def _start(self):
        self.port = free_port()
        write = {"nginx": self._write_nginx, "caddy": self._write_caddy}[self.kind]
        argv = [str(word) for word in write()]
        as_nobody = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
            as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with open(self.folder / "printed.log", "ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=self._environment(),
                **as_nobody,
            )

    def _environment(self):
        # What Caddy keeps belongs into nobody's home.
        home = str(self.folder)
        path = f"{os.environ['PATH']}:/usr/sbin"
        return {"PATH": path, "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}

    def _write_nginx(self):
        (self.folder / "nginx.conf").write_text(NGINX.format(folder=self.folder))
        (self.folder / "collabd.conf").write_text(replaced(documented("nginx"), {
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "server_name lab.example;": f"server_name {self.name};",
            "/etc/ssl/lab.example.crt": str(self.certificate),
            "/etc/ssl/lab.example.key": str(self.key),
            "/var/log/nginx/collabd.log": str(self.folder / "collabd.log"),
            "127.0.0.1:8765": f"127.0.0.1:{self.upstream}",
            **self.changes,
        }))
        return "nginx", "-p", self.folder, "-e", self.folder / "start.log", "-c", self.folder / "nginx.conf"

    def _write_caddy(self):
        (self.folder / "Caddyfile").write_text(replaced(documented("caddyfile"), {
            # Its administration listens on a port that a Caddy of this machine's may have.
            "{\n\tauto_https ": "{\n\tadmin off\n\tauto_https ",
            "\nlab.example {\n": f"\n{self.name}:{self.port} {{\n\tbind 127.0.0.1\n",
            "/etc/ssl/lab.example.crt": str(self.certificate),
            "/etc/ssl/lab.example.key": str(self.key),
            "127.0.0.1:8765": f"127.0.0.1:{self.upstream}",
            **self.changes,
        }))
        return "caddy", "run", "--adapter", "caddyfile", "--config", self.folder / "Caddyfile"

    def adapted(self):
        """The configuration in Caddy's own form."""
        done = subprocess.run(
            ["caddy", "adapt", "--config", "Caddyfile"], cwd=self.folder, env=self._environment(), check=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        return json.loads(done.stdout)

    def _what(self):
        return f"{self.kind} to listen on {self.port}: {self.logs()[-1000:]}"

    def _listens(self):
        # With the certificate made for it: somebody else's port won't do.
        try:
            self.secured().close()
            return True
        except OSError:
            return False

    @property
    def url(self):
        return f"wss://{self.name}:{self.port}"

    def secured(self, address="127.0.0.1"):
        """A connection without WebSocket yet."""
        plain = dial(self.port, address)
        try:
            return self.trust.wrap_socket(plain, server_hostname=self.name)
        except OSError:
            plain.close()
            raise

    def _way(self, address):
        return {"sock": dial(self.port, address), "ssl": self.trust}

    def connect(self, path, address="127.0.0.1", **options):
        """A connection to this path, which is sent as it stands here."""
        return Connection(self.url + path, **self._way(address), **options)

    def script(self, session, user, address="127.0.0.1", url=None, **options):
        """A script whose connection goes through the proxy; it may call that by another `url`."""
        where = SimpleNamespace(url=url or self.url)
        return Script(where, session, user, connect=Connection, **self._way(address), **options)

    def front_end(self, client_id, address="127.0.0.1"):
        return FrontEnd(self, client_id, connect=Connection, **self._way(address))

    def ask(self, path, headers=None, address="127.0.0.1"):
        """Ask for a page and hang up."""
        connection = http.client.HTTPConnection(self.name, self.port)
        connection.sock = self.secured(address)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            answer = Answer(response.status, response.reason, response.read().decode(), response.headers)
        finally:
            connection.close()
        is_page = answer.status == 200 and response.headers.get_content_type() == "text/html"
        record.heard(f"{answer.status} {answer.reason} {'' if is_page else answer.body}")
        return answer

    def logs(self):
        """All it has written, wherever it did."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait(story.DEADLINE)
        for path in self.folder.glob("*.log"):
            record.log(path)


def main(kind, port):
    """A proxy for stories that are told elsewhere; it stays until its input ends."""
    stage = story.Stage(kind)
    try:
        proxy = Proxy(stage, kind, SimpleNamespace(port=port))
        print(proxy.url, flush=True)
        sys.stdin.read()
    finally:
        stage.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
